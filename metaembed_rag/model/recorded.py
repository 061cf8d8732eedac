"""The model that an index names: what of it may be loaded before its user names it too.

A name in an index is somebody's writing. It leads to files that are on this machine already, and
to safetensors only; a server, a download or a pickle waits until the user has named it.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from metaembed_rag.errors import CheckpointError
from metaembed_rag.model.checkpoints import (
    find_checkpoint,
    is_address,
    is_hub_id,
    shipped_checkpoints,
    split_name,
)
from metaembed_rag.pages.folders import expanded

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


def reason_to_ask(name: str) -> str:
    """Why a recorded name may not be loaded before the user has named it; empty where it may.

    Nothing is asked of a network, and no weights are read.
    """
    if is_address(name):
        return (
            f"a model at the server {_host(name)}, which would get your queries, the pages that "
            f"you add and the key in METAEMBED_API_KEY"
        )
    if _is_of_another_machine(name):
        return "a model in a folder of another machine"
    bare, _ = split_name(name)
    if bare in shipped_checkpoints():
        return ""
    folder = expanded(bare)
    if not folder.is_dir():
        if not is_hub_id(bare):
            return ""  # it leads nowhere, which the one who loads it says
        try:
            folder = find_checkpoint(bare, local_files_only=True)
        except CheckpointError:
            return "a model that is not on this machine and would be downloaded"
    # Modules lie in folders of the checkpoint's own; one that is no checkpoint may hold anything.
    places = [folder, *(path for path in folder.iterdir() if path.is_dir())]
    pickles = [path for place in places for kind in _PICKLES for path in place.glob(kind)]
    odd = [path.name for path in pickles if not any(path.parent.glob("*.safetensors"))]
    return f"a model whose weights are no safetensors ({odd[0]})" if odd else ""


def is_of_hub_or_folder(name: str) -> bool:
    """Whether loading a model has files of its own to find, which are not shipped ones."""
    bare, _ = split_name(name)
    if bare in shipped_checkpoints():
        return False
    return is_hub_id(bare) or expanded(bare).is_dir()


def has_to_be_named(name: str) -> bool:
    """Whether a model may one day have to be named: it is not shipped, and no harmless folder."""
    bare = name if is_address(name) else split_name(name)[0]
    far = is_address(name) or (is_hub_id(bare) and not expanded(bare).is_dir())
    return far or bool(reason_to_ask(name))


def leads_to_same(named: str, recorded: str) -> bool:
    """Whether a name that the user gave leads where a recorded one does: server, hub id, folder."""
    if is_address(named) and is_address(recorded):
        return _server(named) == _server(recorded)
    if named == recorded or is_address(named) or is_address(recorded):
        return named == recorded
    if not named or _is_of_another_machine(recorded):
        return False  # not even looked for
    one, other = (split_name(name)[0] for name in (named, recorded))
    return one == other or expanded(one).resolve() == Path(other)


def _is_of_another_machine(name: str) -> bool:
    """Whether it is a folder that Windows would ask another machine for, as this user."""
    return name.replace("\\", "/").startswith("//")


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
