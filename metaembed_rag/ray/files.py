"""Files of folders and object stores into an index, read and encoded by a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

from metaembed_rag.index import PageIndex
from metaembed_rag.ingest import AddReport, FilesToEncode, FollowKeywords
from metaembed_rag.model.inputs import Mode
from metaembed_rag.pages.reading import Ocr
from metaembed_rag.pages.remote import remote_folder
from metaembed_rag.ray.cluster import THIS_MACHINE, RayOptions, cluster, told
from metaembed_rag.ray.encoder import EncodingKeywords, PageEncoder

_READING = 0.05
"""Cores that reading one block of files takes: the rest is for those that encode."""


class SyncKeywords(FollowKeywords, total=False):
    """What :func:`sync_files` hands on to :meth:`metaembed_rag.PageIndex.sync_encoded`.

    Attributes:
        batch_size: Pages written at a time.
        progress: Called with the number of pages done after each batch.
        show_progress: Draw a bar.
        lock_timeout: Seconds to wait for another writer.
    """

    batch_size: int
    progress: Callable[[int], None] | None
    show_progress: bool
    lock_timeout: float


def sync_files(
    index: PageIndex,
    paths: Sequence[str | Path],
    options: RayOptions = THIS_MACHINE,
    *,
    encoder: EncodingKeywords | None = None,
    model: str | None = None,
    mode: Mode = "fused",
    ocr: bool | Ocr = True,
    **keywords: Unpack[SyncKeywords],
) -> AddReport:
    """Bring an index in line with files, as :meth:`metaembed_rag.PageIndex.sync` does, by workers.

    Files that are unchanged are read by a worker and not encoded, or not even read where an object
    store says that they are unchanged.

    Args:
        index: The index; this process is its writer.
        paths: Files and folders that all workers see under the same path, and addresses of files
            and folders in object stores (``s3://bucket/docs/``).
        options: By which cluster.
        encoder: More for :class:`PageEncoder`, such as ``device`` or ``pictures``.
        model: The name by which workers load the model, as for :meth:`PageEncoder.arguments`.
        mode: What of a page is encoded.
        ocr: When pictures are read by OCR.
        **keywords: As for :meth:`metaembed_rag.PageIndex.sync_encoded`.

    Raises:
        ModelMismatchError: A worker loads another model than the index's.
        ServerError: There is no cluster.
        MissingExtraError: Ray is not installed, or what reaches the object store.
    """
    arguments = PageEncoder.arguments(index, model, **(encoder or {}))
    arguments |= {"mode": mode, "ocr": ocr}
    storage = keywords.get("storage_options")
    with cluster(options) as ray:

        def encode(files: FilesToEncode) -> Iterator[Any]:
            known: dict[str, Any] = {
                "folders": files.folders,
                "unchanged": files.unchanged,
                "blank": files.blank,
                "moved": files.moved,
                "digests": files.digests,
            }
            if files.pictures:
                known["pictures"] = files.pictures
            for protocol, sources in _by_protocol(files.sources).items():
                more = {**known, **arguments, "prefix": protocol}
                system = _file_system(sources[0], storage) if protocol else None
                yield from told(ray, encoded_files(ray, sources, system, more, options))

        return index.sync_encoded(paths, encode, mode=mode, **keywords)


def encoded_files(
    ray: Any, sources: Sequence[str], system: Any, arguments: dict[str, Any], options: RayOptions
) -> Iterator[dict[str, Any]]:
    """Rows of the pages of files, as the workers of a cluster make them.

    Args:
        ray: The module, connected.
        sources: Paths, or addresses of one protocol.
        system: The file system of fsspec that has them; None for paths.
        arguments: What each worker makes its :class:`PageEncoder` of.
        options: How many workers there are, and how many files one is handed at a time.
    """
    blocks = -(-len(sources) // options.files_at_once)
    if system is not None:
        files = ray.data.read_binary_files(
            list(sources),
            include_paths=True,
            filesystem=system,
            ignore_missing_paths=True,
            override_num_blocks=blocks,
            num_cpus=_READING,
        )
    else:  # each worker opens them: one that cannot be read costs itself, and not the whole run
        named = [{"path": source} for source in sources]
        files = ray.data.from_items(named, override_num_blocks=blocks)
    rows = files.map_batches(
        PageEncoder,
        fn_constructor_kwargs=arguments,
        batch_size=options.files_at_once,
        **_workers(ray, options, blocks),
    )
    return iter(rows.iter_rows())


def _workers(ray: Any, options: RayOptions, blocks: int) -> dict[str, Any]:
    """How many actors of which size there are."""
    has = ray.cluster_resources()
    gpus, cores = has.get("GPU", 0), has.get("CPU", 1)
    count = options.workers or max(1, int(gpus or cores // 2))
    each = {"num_gpus": gpus / count} if gpus else {"num_cpus": _share(cores, count)}
    strategy = ray.data.ActorPoolStrategy(size=min(count, blocks))
    return {"compute": strategy, **each}


def _share(cores: float, workers: int) -> float:
    """The cores of a worker, some being left for reading: with all taken nothing would go on."""
    share = (cores - 2 * _READING) / workers
    return float(int(share)) if share >= 2 else round(share - 0.005, 2)


def _by_protocol(sources: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for source in sources:
        protocol, mark, _ = source.partition("://")
        found.setdefault(protocol + mark if mark else "", []).append(source)
    return found


def _file_system(url: str, options: Mapping[str, Any] | None) -> Any:
    """fsspec's file system for an address."""
    return remote_folder(url, options).fs
