"""The one guarded unpacker for tar and zip."""
