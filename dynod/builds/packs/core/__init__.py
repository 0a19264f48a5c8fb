"""What the built-in buildpacks decide: which pack, which version, which tool. Pure; files come in as text."""
