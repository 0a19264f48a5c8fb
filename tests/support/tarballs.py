"""Archives of code for tests, well made and ill made."""

import gzip
import io
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path


def member(
    name: str, content: bytes = b"", *, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644
) -> tuple[tarfile.TarInfo, bytes]:
    """One member, as it is to stand in the archive."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, mode
    info.size = len(content)
    return info, content


def packed(members: Iterable[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    """A gzipped tar of these."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def tarball(files: Mapping[str, str | bytes], *, below: str = "") -> bytes:
    """Files, those whose name ends in `.sh` to be executed."""
    return packed(
        member(
            f"{below}{name}",
            text.encode() if isinstance(text, str) else text,
            mode=0o755 if name.endswith(".sh") else 0o644,
        )
        for name, text in files.items()
    )


def zeros(count: int) -> bytes:
    """A gzip of so many zero bytes, made piece by piece."""
    buffer = io.BytesIO()
    with gzip.open(buffer, "wb", compresslevel=1) as file:
        for _ in range(count // (1 << 20)):
            file.write(bytes(1 << 20))
        file.write(bytes(count % (1 << 20)))
    return buffer.getvalue()


def tree(folder: Path) -> dict[str, str]:
    """What is in a folder: path → content, `-> target` of a link, `/` of a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        else:
            found[name] = "/" if path.is_dir() else path.read_text()
    return found
