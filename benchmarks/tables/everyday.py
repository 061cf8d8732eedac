"""What the tables of languages, of pictures inside of pages and of installations show."""

from __future__ import annotations

from benchmarks.tables.cells import NONE, Lines, Record, grid, number, percent, points, whole

_ASKED = {
    "de": "German pages, asked in German",
    "fr": "French pages, asked in French",
    "en-de": "German pages, asked in English",
    "en-fr": "French pages, asked in English",
    "en": "English pages, asked in English",
}
"""What a set of ``benchmarks.data.translated_manuals`` is."""


def languages(record: Record) -> Lines:
    """BM25, vectors and both on each set of manuals."""
    head = ["pages, queries", "BM25 English", "BM25 own language"]
    for size in ("(1,1)", "(16,64)"):
        head += [f"{size} vectors", "hybrid before", "hybrid own language", "gain"]
    rows = []
    for row in record["numbers"]["sets"]:
        cells = [_ASKED.get(row["set"], row["set"]), percent(row["english"]), percent(row["own"])]
        for one in (row["1,1"], row["16,64"]):
            ways = ("dense", "hybrid english", "hybrid own")
            cells += [*(percent(one[name]) for name in ways), points(one["gain"])]
        rows.append(cells)
    return grid(head, rows)


def languages_choice(record: Record) -> Lines:
    """BM25 on the validation part by how pages are read."""
    head = ["validation set", "English", "the right language", "auto", "whole words"]
    names = ("english", "right", "auto", "None")
    rows = record["numbers"]["choice"]
    return grid(head, [[row["set"], *(percent(row[name]) for name in names)] for row in rows])


def languages_characters(record: Record) -> Lines:
    """BM25 where a script has no spaces, before and with pairs of characters."""
    names = {"zh": "Chinese manuals", "ja": "Japanese manuals"}
    rows = record["numbers"]["characters"]
    ways = ("as before", "now", "own")
    cells = [[names[row["set"]], *(percent(row[name]) for name in ways)] for row in rows]
    return grid(["set", "runs as words", "pairs of characters", "and the language named"], cells)


def languages_english(record: Record) -> Lines:
    """BM25 on English sets, read as English and each page in its own language."""
    rows = record["numbers"]["english"]
    head = ["set", "English, the default", "auto"]
    return grid(head, [[r["set"], percent(r["english"]), percent(r["auto"])] for r in rows])


def languages_detectors(record: Record) -> Lines:
    """How often each library is right, and its CPU time a text."""
    cells = [
        [
            f"`{row['library']}`",
            *(percent(row[kind]["right"]) for kind in ("pages", "queries")),
            *(f"{row[kind]['ms']:.2f}" for kind in ("pages", "queries")),
        ]
        for row in record["numbers"]["detectors"]
    ]
    return grid(["library", "pages right", "queries right", "ms a page", "ms a query"], cells)


def figures(record: Record) -> Lines:
    """Charts inside of pages: what is found with OCR off and on."""
    numbers = record["numbers"]
    told = {"never": "off", "auto": "on (`auto`)"}
    rows = [
        [name, percent(numbers[ocr]["vectors"]), percent(numbers[ocr]["hybrid"])]
        for ocr, name in told.items()
    ]
    asked = f"OCR ({numbers['charts']} pages with a chart and a question each)"
    return grid([asked, f"nDCG@5, `{numbers['model']}`", "nDCG@5, hybrid"], rows)


def figures_cost(record: Record) -> Lines:
    """CPU seconds a page: without figures, with figures drawn, with figures read."""
    rows = [
        [
            one["what"],
            f"{one['with_figures']} of {one['pages']}",
            f"{one['loaded']:.3f}",
            f"{one['drawn']:.3f}",
            f"{one['drawn'] + one['read']:.2f}",
        ]
        for one in record["numbers"]["costs"]
    ]
    head = ["CPU seconds a page", "pages with figures", "loaded", "figures drawn", "figures read"]
    return grid(head, rows)


def install(record: Record) -> Lines:
    """Megabytes of each choice, and its largest packages."""
    numbers = record["numbers"]
    rows = []
    for name, of in numbers["choices"].items():
        sizes = sorted(of["bytes"].items(), key=lambda one: -one[1])
        total = sum(of["bytes"].values())
        large = ", ".join(f"{package} {megabytes(size)}" for package, size in sizes[:6])
        line = f"`'.[{of['extras']}]'`" if of["extras"] else "`.`"
        rows.append([name, line, number(len(sizes)), megabytes(total), large])
    return grid(["choice", "`pip install`", "packages", "MB", "the largest, MB"], rows)


def install_unused(record: Record) -> Lines:
    """Packages of `local` that indexing and searching import nothing of, from 2 MB on.

    What metaembed-rag itself asks for is left out: PDFs are read in a process of their own.
    """
    numbers = record["numbers"]
    sizes = {
        name.lower().replace("_", "-"): size
        for name, size in numbers["choices"]["local"]["bytes"].items()
    }
    largest = sorted(numbers["unused"], key=lambda name: -sizes[name])
    rows = [
        [name, megabytes(sizes[name]), ", ".join(numbers["unused"][name]) or NONE]
        for name in largest
        if sizes[name] >= 2_000_000 and "metaembed-rag" not in numbers["unused"][name]
    ]
    return grid(["package", "MB", "asked for by"], rows)


def megabytes(size: int) -> str:
    """Whole millions of bytes, one decimal below ten."""
    return f"{size / 1e6:,.0f}" if size >= 1e7 else f"{size / 1e6:.1f}"


def mixed_folder(record: Record) -> Lines:
    """What each run over the folder of mixed files did."""
    rows = [
        [
            one["step"],
            whole(one["files"]),
            whole(one["pages"]),
            whole(one["encoded"]),
            whole(one.get("moved", 0)),
            whole(one.get("removed", 0)),
            whole(len(one.get("of_files_that_are_gone", ()))),
        ]
        for one in record["numbers"]["steps"]
    ]
    head = ["the folder is", "files", "pages", "encoded", "moved", "removed", "files that are gone"]
    return grid(head, rows)
