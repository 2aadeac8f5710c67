"""The TheWorld track on DataComp: a projector of video-world latents in front of a frozen Gemma 3."""
