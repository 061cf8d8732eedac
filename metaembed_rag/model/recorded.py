"""The model that an index names: what of it may be loaded before its user names it too.

A name in an index is somebody's writing. It leads to files that are on this machine already, and
to safetensors only; a server, a download or a pickle waits until the user has named it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from metaembed_rag.errors import CheckpointError
from metaembed_rag.model.checkpoints import (
    find_checkpoint,
    is_address,
    is_hub_id,
    shipped_checkpoints,
    split_name,
)

if TYPE_CHECKING:
    from metaembed_rag.model.base import OrderedEncoder

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


def reason_to_ask(name: str) -> str:
    """Why a recorded name may not be loaded before the user has named it; empty where it may.

    Nothing is asked of a network, and of files only whether they are there.
    """
    if is_address(name):
        return (
            f"a model at the server {_host(name)}, which would get your queries, the pages that "
            f"you add and the key in METAEMBED_API_KEY"
        )
    if name.replace("\\", "/").startswith("//"):
        return "a model in a folder of another machine"
    bare, _ = split_name(name)
    if bare in shipped_checkpoints():
        return ""
    folder = Path(bare).expanduser()
    if not folder.is_dir():
        if not is_hub_id(bare):
            return ""  # it leads nowhere, which the one who loads it says
        try:
            folder = find_checkpoint(bare, local_files_only=True)
        except CheckpointError:
            return "a model that is not on this machine and would be downloaded"
    pickles = [path for kind in _PICKLES for path in folder.rglob(kind)]
    odd = [path.name for path in pickles if not any(path.parent.glob("*.safetensors"))]
    return f"a model whose weights are no safetensors ({odd[0]})" if odd else ""


def load_recorded(name: str, device: str | None = None) -> OrderedEncoder:
    """Load a model for which there is no :func:`reason_to_ask`, without network and foreign code.

    Raises:
        CheckpointError: It cannot be loaded.
    """
    from metaembed_rag.model import MetaEmbedEncoder

    bare, _ = split_name(name)
    if bare in shipped_checkpoints() or not (is_hub_id(bare) or Path(bare).expanduser().is_dir()):
        return MetaEmbedEncoder.from_pretrained(name, device=device)
    return MetaEmbedEncoder.from_pretrained(name, device=device, local_files_only=True)


def has_to_be_named(name: str) -> bool:
    """Whether a model may one day have to be named: it is not shipped, and no harmless folder."""
    bare = name if is_address(name) else split_name(name)[0]
    far = is_address(name) or (is_hub_id(bare) and not Path(bare).expanduser().is_dir())
    return far or bool(reason_to_ask(name))


def leads_to_same(named: str, recorded: str) -> bool:
    """Whether a name that the user gave leads where a recorded one does: server, hub id, folder."""
    if is_address(named) and is_address(recorded):
        return _server(named) == _server(recorded)
    if not named or is_address(named) or is_address(recorded):
        return False
    one, other = (split_name(name)[0] for name in (named, recorded))
    return one == other or Path(one).expanduser().resolve() == Path(other)


def _host(address: str) -> str:
    try:
        return repr(urlsplit(address).hostname)
    except ValueError:
        return "that it names"


def _server(address: str) -> tuple[str, str | None, int | None]:
    """Scheme, host and port of an address; itself where it has none that can be read."""
    try:
        parts = urlsplit(address)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return address, None, None
    return parts.scheme, parts.hostname, port
