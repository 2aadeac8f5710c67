"""One question about one picture: python theworld.py PICTURE QUESTION   (torch, transformers, diffusers, pillow)

Gemma 3 lies beside this file, its second visual input in vae/ and projector/; where base.json lies here instead, it
names the repositories that both base models are loaded from.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

import diffusers
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from safetensors.torch import load_file
from transformers import AutoTokenizer, DynamicCache, Gemma3ForConditionalGeneration

HERE = Path(__file__).resolve().parent
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
IMAGE, SOFT, END = "<start_of_image>", "<image_soft_token>", "<end_of_image>"
THAWED = {
    "thawed.gemma_vision.tower.": "model.vision_tower.",
    "thawed.gemma_vision.projector.": "model.multi_modal_projector.",
    "thawed.gemma_language.": "model.language_model.",
}


def pixels(path: str, size: int) -> torch.Tensor:
    """float32 [1, 3, size, size] in [-1, 1]: upright, transparency on white, squashed with antialiasing."""
    picture: Any = Image.open(path)
    picture.draft("RGB", (size, size))
    picture = ImageOps.exif_transpose(picture).convert("RGBA")
    picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    flat = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    planes = flat.reshape(1, picture.height, picture.width, 3).permute(0, 3, 1, 2)
    if planes.shape[2:] != (size, size):
        planes = F.interpolate(planes, (size, size), mode="bicubic", antialias=True)
    return planes.float().to(DEVICE) / 127.5 - 1


def features(mode: str, z: torch.Tensor) -> torch.Tensor:
    """Latents [1, C, h, w] as world tokens [N_w, k]."""
    if mode == "channel":
        return z.flatten(2)[0]
    if mode == "stats":
        flat = z.flatten(2)
        kinds = (flat.mean(-1), flat.std(-1, correction=0), flat.amin(-1), flat.amax(-1))
        return torch.stack(kinds, dim=-1).flatten(1)
    side = {"spatial": 1, "pooled4": 4, "pooled8": 8}[mode]
    _, channels, rows, columns = z.shape
    squares = z.reshape(channels, rows // side, side, columns // side, side).permute(1, 3, 0, 2, 4)
    return squares.reshape(-1, channels * side**2)


class TheWorld:
    """The stock models and what was trained between them, from the folder of this file."""

    def __init__(self) -> None:
        self.config = json.loads((HERE / "projector" / "world_config.json").read_text())
        self.trained = {n: t.to(DEVICE) for n, t in load_file(HERE / "projector" / "model.safetensors").items()}
        gemma: Any = (str(HERE), {})
        vae: Any = (str(HERE), {"subfolder": "vae"})
        if (HERE / "base.json").is_file():
            gemma, vae = ((one.pop("id"), one) for one in json.loads((HERE / "base.json").read_text()).values())
        dtype = torch.bfloat16 if DEVICE.type == "cuda" else torch.float32
        self.tokenizer: Any = AutoTokenizer.from_pretrained(gemma[0], **gemma[1])
        stock: Any = Gemma3ForConditionalGeneration
        self.gemma = stock.from_pretrained(gemma[0], dtype=dtype, **gemma[1]).to(DEVICE).eval()
        self.gemma.set_attn_implementation({"text_config": "sdpa"})
        for name, tensor in self.trained.items():
            for ours, theirs in THAWED.items():
                if name.startswith(ours):
                    self.gemma.get_parameter(theirs + name.removeprefix(ours)).data.copy_(tensor)
        kind: Any = getattr(diffusers, diffusers.AutoModel.load_config(vae[0], **vae[1])["_class_name"])
        self.vae = kind.from_pretrained(vae[0], torch_dtype=torch.float32, **vae[1]).to(DEVICE).eval()

    def latent(self, path: str) -> torch.Tensor:
        """Normalised latent [1, C, h, w] of a picture, in the 16 bits that training stored."""
        stated = self.config["belongs"]["latents"]
        size, channels = int(re.findall(r"to (\d+)x", stated["preprocessing"])[0]), stated["shape"][0]
        z: torch.Tensor = self.vae.encode(pixels(path, size)[:, :, None]).latent_dist.mode()[:, :, 0]
        mean, std = (self.vae.config[name] for name in ("latents_mean", "latents_std"))
        step = len(mean) // channels  # one number for each latent frame in some models; a picture is the first
        mean, std = (torch.tensor(numbers[::step], device=DEVICE)[:, None, None] for numbers in (mean, std))
        return ((z - mean) / std).half().float()

    def world_tokens(self, path: str) -> torch.Tensor:
        """[N_w, D] in fp32."""
        own, belongs, r_text = self.trained, self.config["belongs"], float(self.config["r_text"])
        if "world.vectors" in own:
            return r_text * F.rms_norm(own["world.vectors"], own["world.vectors"].shape[-1:], eps=1e-6)
        x = features(belongs["world"]["mode"], self.latent(path))
        for layer in (0, 2):
            if f"world.projector.{layer}.weight" in own:
                x = F.gelu(x) if layer else x
                x = F.linear(x, own[f"world.projector.{layer}.weight"], own[f"world.projector.{layer}.bias"])
        x = F.gelu(x) if belongs["world"]["projector"] == "mlp_gelu_out" else x
        scale = own["world.alpha"] * r_text if "world.alpha" in own else own["world.gamma"]
        found: torch.Tensor = scale * F.rms_norm(x, x.shape[-1:], eps=1e-6)
        return found

    def prompt(self, path: str, question: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Embeddings [1, L, D] of a question about a picture, and [L], the block that sees itself whole, or -1."""
        turns = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}]
        text = self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        text = text.replace(IMAGE, f"\n\n{IMAGE}{SOFT}{END}\n\n")
        ids = torch.tensor(self.tokenizer(text, add_special_tokens=False)["input_ids"], device=DEVICE)
        if sum(int((ids == self.tokenizer.convert_tokens_to_ids(mark)).sum()) for mark in (IMAGE, SOFT, END)) != 3:
            raise SystemExit("the question holds text that stands for an image")
        table = self.gemma.get_input_embeddings()
        picture = pixels(path, self.gemma.config.vision_config.image_size).to(self.gemma.dtype)
        soft = self.gemma.model.get_image_features(picture, return_dict=True).pooler_output[0]
        world, how = self.world_tokens(path), self.config["belongs"]["world"]
        at = int((ids == self.tokenizer.convert_tokens_to_ids(SOFT)).nonzero())
        parts = [(table(ids[:at]), -1), (soft, 0), (table(ids[at + 1 : at + 2]), -1), (table(ids[at + 2 :]), -1)]
        if how["fusion"] == "add":
            parts[1] = (soft.float() + world, 0)
        else:
            edges = self.trained.get("world.boundaries")
            if edges is None:  # a soft prompt stands between Gemma's own marks of an image
                config = self.gemma.config
                edges = table(torch.tensor([config.boi_token_index, config.eoi_token_index], device=DEVICE))
            block = [(edges[:1], -1), (world, 1 if how["block"] == "bidirectional" else -1), (edges[1:], -1)]
            if how["placement"] == "before_text":
                parts[:1] = [(table(ids[:1]), -1), *block, (table(ids[1:at]), -1)]
            else:
                parts[3:3] = block
        seen = torch.cat([torch.full((len(part),), own) for part, own in parts]).to(DEVICE)
        return torch.cat([part.to(self.gemma.dtype) for part, _ in parts])[None], seen

    @torch.inference_mode()
    def answer(self, path: str, question: str, most: int = 64) -> list[int]:
        """Ids of the likeliest answer, token by token, without the one that ends it."""
        x, seen = self.prompt(path, question)
        text = self.gemma.config.get_text_config()
        stops = {self.tokenizer.convert_tokens_to_ids("<end_of_turn>"), self.tokenizer.eos_token_id}
        places = torch.arange(x.shape[1], device=DEVICE)
        back = places[:, None] - places
        same = (seen[:, None] == seen) & (seen >= 0)
        masks = {"full_attention": (back >= 0) | same}
        masks["sliding_attention"] = masks["full_attention"] & ((back < text.sliding_window) | same)
        found: list[int] = []
        cache = DynamicCache()
        while True:
            hidden = self.gemma.model.language_model(
                inputs_embeds=x,
                position_ids=places[None, -x.shape[1] :],
                attention_mask={name: mask[None, None] for name, mask in masks.items()},
                past_key_values=cache,
                use_cache=True,
            ).last_hidden_state
            token = int(self.gemma.lm_head(hidden[:, -1]).argmax())
            if token in stops or len(found) == most:
                return found
            found.append(token)
            x = self.gemma.get_input_embeddings()(torch.tensor([[token]], device=DEVICE))
            places = torch.arange(len(places) + 1, device=DEVICE)
            near = places.flip(0) < text.sliding_window
            masks = {"full_attention": torch.ones_like(near)[None], "sliding_attention": near[None]}


if __name__ == "__main__":
    model = TheWorld()
    ids = model.answer(sys.argv[1], sys.argv[2])
    sys.stdout.write(model.tokenizer.decode(ids, skip_special_tokens=True) + "\n")
