"""A folder of mixed files as people have it, made from what Debian's packages ship.

    python -m benchmarks.data.mixed_folder --out .data/mixed [--work .data/mixed-packages]

Manuals in seven languages as PDF, EPUB, HTML and text in several encodings; documents, sheets and
slides that LibreOffice makes of them (so it is needed here, and so are ``apt-get`` and
``dpkg-deb``); scans turned four ways; charts that are bitmaps inside PDFs; photos in the formats
of pictures; letters; files of kinds that are not read. ``contents.json`` beside the folder says of
each file what it is and which words a question may ask for.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from email.message import EmailMessage
from pathlib import Path
from tempfile import TemporaryDirectory

import pillow_heif
import pypdfium2
from PIL import Image

PACKAGES = (
    *("debian-faq", "debian-faq-ru", "debian-policy", "debian-handbook", "developers-reference"),
    *("debian-faq-de", "debian-faq-fr", "debian-faq-it", "debian-reference-de"),
    *("debian-reference-es", "debian-reference-fr", "debian-reference-ja"),
    *("debian-reference-zh-cn", "developers-reference-de", "maint-guide-de"),
    "tuxpaint-stamps-default",
)
"""Debian 12's: each ships its manual in its language."""
_DOC = "usr/share/doc"
_REFERENCE = "usr/share/debian-reference"
_PDFS = {
    "handbuch/faq_de": f"{_DOC}/debian/FAQ/debian-faq.de.pdf.gz",
    "guide/faq_en": f"{_DOC}/debian/FAQ/debian-faq.en.pdf.gz",
    "guides/faq_fr": f"{_DOC}/debian/FAQ/debian-faq.fr.pdf.gz",
    "guide/faq_it": f"{_DOC}/debian/FAQ/debian-faq.it.pdf.gz",
    "guide/faq_ru": f"{_DOC}/debian/FAQ/debian-faq.ru.pdf.gz",
    "guide/policy": f"{_DOC}/debian-policy/policy.pdf.gz",
    "guide/hierarchy": f"{_DOC}/debian-policy/fhs/fhs-3.0.pdf.gz",
    "handbuch/maintainer": f"{_DOC}/maint-guide-de/maint-guide.de.pdf",
    "guide/developers": "usr/share/developers-reference/developers-reference.pdf",
    "handbuch/entwickler": "usr/share/developers-reference/de/developers-reference.pdf",
    "handbuch/referenz": f"{_REFERENCE}/debian-reference.de.pdf",
    "guides/référence": f"{_REFERENCE}/debian-reference.fr.pdf",
    "guía/referencia": f"{_REFERENCE}/debian-reference.es.pdf",
    "手册/参考": f"{_REFERENCE}/debian-reference.zh-cn.pdf",
    "手册/リファレンス": f"{_REFERENCE}/debian-reference.ja.pdf",
}
"""Name in the folder -> where a package has it."""
_CHAPTERS = {
    "de": ("handbuch", f"{_REFERENCE}/ch{{:02}}.de.html"),
    "es": ("guía", f"{_REFERENCE}/ch{{:02}}.es.html"),
    "fr": ("guides", f"{_REFERENCE}/ch{{:02}}.fr.html"),
    "ja": ("手册", f"{_REFERENCE}/ch{{:02}}.ja.html"),
    "zh": ("手册", f"{_REFERENCE}/ch{{:02}}.zh-cn.html"),
}
_WEB = ("apt-get", "backup", "dhcp", "ipv6", "quotas", "syslog")
_HANDBOOK = f"{_DOC}/debian-handbook/html/en-US"
_ENCODINGS = {
    "latin-1": "de",
    "cp1252": "fr",
    "utf-16": "es",
    "utf-8": "zh",
    "shift_jis": "ja",
    "gb18030": "zh",
    "utf-8-sig": "fr",
    "euc-jp": "ja",
    "cp850": "de",
    "utf-32": "es",
}
_PART = 3_000
"""Characters of a text file, and of a chapter that becomes a document."""
_PAGES = 3
"""Pages of a manual."""
_FIRST = 12
"""The page that they begin with, past the contents."""


@dataclass(frozen=True)
class MixedFile:
    """A file of the folder.

    Attributes:
        path: Below the folder.
        about: What it is.
        words: Words that are on a page of it; ``""`` where nothing can be read there.
    """

    path: str
    about: str
    words: str = ""


class Maker:
    """Makes the folder.

    Args:
        out: The folder.
        packages: Where the packages are unpacked.
        charts: Pictures of charts.
    """

    def __init__(self, out: Path, packages: Path, charts: Path) -> None:
        self._out, self._packages, self._charts = out, packages, charts

    def files(self) -> Iterator[MixedFile]:
        """All files, as they are made."""
        yield from self._manuals()
        yield from self._web()
        yield from self._texts()
        yield from self._documents()
        yield from self._sheets()
        yield from self._slides()
        yield from self._scans()
        yield from self._charts_in_pages()
        yield from self._pictures()
        yield from self._letters()
        yield from self._others()

    def _place(self, name: str) -> Path:
        path = self._out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _bytes(self, name: str) -> bytes:
        data = (self._packages / name).read_bytes()
        return gzip.decompress(data) if name.endswith(".gz") else data

    def _manuals(self) -> Iterator[MixedFile]:
        from pypdf import PdfReader, PdfWriter

        for name, where in _PDFS.items():
            reader, writer = PdfReader(io.BytesIO(self._bytes(where))), PdfWriter()
            first = min(_FIRST, len(reader.pages) - _PAGES)
            for page in reader.pages[first : first + _PAGES]:
                writer.add_page(page)
            writer.write(self._place(f"{name}.pdf"))
            yield MixedFile(f"{name}.pdf", "a manual", _words(reader.pages[first].extract_text()))

    def _web(self) -> Iterator[MixedFile]:
        for language, (folder, where) in _CHAPTERS.items():
            name = f"{folder}/chapter_{language}.html"
            shutil.copy(self._packages / where.format(4), self._place(name))
            yield MixedFile(name, "a chapter of a book on the web")
        for chapter in _WEB:
            name = f"web/{chapter}.html"
            shutil.copy(self._packages / _HANDBOOK / f"sect.{chapter}.html", self._place(name))
            yield MixedFile(name, "a page of the web")
        name = "books/developers.epub"
        book = "usr/share/developers-reference/developers-reference.epub"
        shutil.copy(self._packages / book, self._place(name))
        yield MixedFile(name, "a book", "non-maintainer upload")

    def _chapter(self, language: str, number: int) -> str:
        """Some of the plain text of a book, another part for each number."""
        name = _CHAPTERS[language][1].rpartition("/")[2].replace("ch{:02}", "debian-reference")
        text = self._bytes(f"{_REFERENCE}/{name.replace('.html', '.txt.gz')}").decode("utf-8")
        start = len(text) * number // 20
        lines = (" ".join(line.split()) for line in text[start : start + 4 * _PART].splitlines())
        return "\n".join(line for line in lines if line)

    def _texts(self) -> Iterator[MixedFile]:
        for number, (encoding, language) in enumerate(_ENCODINGS.items(), 3):
            text = self._chapter(language, number)[:_PART]
            name = f"notes/{language}_{encoding}.txt"
            self._place(name).write_bytes(text.encode(encoding, "ignore"))
            yield MixedFile(name, f"text in {encoding}", _words(text))
        for language in ("de", "fr", "es"):
            text = self._chapter(language, 2)[: 2 * _PART]
            name = f"notes/{language}.md"
            self._place(name).write_text(f"# Notes\n\n{text}", encoding="utf-8")
            yield MixedFile(name, "notes in Markdown", _words(text))

    def _documents(self) -> Iterator[MixedFile]:
        wanted = ("docx", "odt", "rtf", "doc", "docx", "odt", "docx", "rtf", "docx", "epub")
        languages = ("de", "fr", "es", "ja", "zh") * 2
        for number, (suffix, language) in enumerate(zip(wanted, languages, strict=True), 5):
            text = self._chapter(language, number)[:_PART]
            body = "".join(f"<p>{line}</p>" for line in _escaped(text).splitlines())
            name = f"office/{number} {language}.{suffix}"
            self._convert(f"<html><body><h1>{number}</h1>{body}</body></html>", "html", name)
            yield MixedFile(name, "a document", _words(text))

    def _sheets(self) -> Iterator[MixedFile]:
        zones = Path("/usr/share/zoneinfo/zone1970.tab").read_text(encoding="utf-8").splitlines()
        rows = [line.split("\t")[:3] for line in zones if not line.startswith("#")][:120]
        comma = "\n".join(",".join(f'"{cell}"' for cell in row) for row in [_HEAD, *rows]) + "\n"
        for suffix in ("csv", "tsv", "xlsx", "ods", "xls"):
            name = f"tables/time zones.{suffix}"
            if suffix == "csv":
                self._place(name).write_text(comma, encoding="utf-8")
            elif suffix == "tsv":
                tabs = "\n".join("\t".join(row) for row in [_HEAD, *rows])
                self._place(name).write_text(tabs + "\n", encoding="utf-8")
            else:
                self._convert(comma, "csv", name)
            yield MixedFile(name, "a table", "Europe/Andorra")

    def _slides(self) -> Iterator[MixedFile]:
        topics = {
            "plan": ("Budget of the library", "New shelves cost four thousand crowns", "Questions"),
            "vortrag": ("Die Werft im Winter", "Zwölf Schiffe liegen im Dock", "Ausblick"),
            "exposé": ("Le port de pêche", "La criée ouvre à six heures", "Conclusion"),
        }
        for (name, slides), suffix in zip(topics.items(), ("pptx", "odp", "ppt"), strict=True):
            self._convert(_flat_slides(slides), "fodp", f"slides/{name}.{suffix}")
            yield MixedFile(f"slides/{name}.{suffix}", "slides", slides[1])

    def _convert(self, content: str, kind: str, name: str) -> None:
        """Have LibreOffice write a file of another kind."""
        with TemporaryDirectory() as folder:
            made = Path(folder, f"made.{kind}")
            made.write_text(content, encoding="utf-8")
            place = self._place(name)
            target = place.suffix[1:]
            args = ["soffice", "--headless", f"-env:UserInstallation=file://{folder}/profile"]
            if kind == "html":
                args.append("--infilter=HTML (StarWriter)")
            args += ["--convert-to", target, "--outdir", folder, str(made)]
            subprocess.run(args, check=True, capture_output=True, timeout=180)
            shutil.copy(made.with_suffix(place.suffix), place)

    def _scans(self) -> Iterator[MixedFile]:
        with pypdfium2.PdfDocument(self._bytes(_PDFS["guide/faq_en"])) as manual:
            page = manual[_FIRST + _PAGES]
            words = _words(page.get_textpage().get_text_bounded())
            scan = page.render(scale=2).to_pil().convert("L")
        for turn in (0, 90, 180, 270):
            for suffix in ("pdf", "jpg"):
                name = f"scans/scan {turn}.{suffix}"
                scan.rotate(turn, expand=True).save(self._place(name), resolution=144.0)
                yield MixedFile(name, f"a scan, turned by {turn} degrees", words)

    def _charts_in_pages(self) -> Iterator[MixedFile]:
        from reportlab.lib.pagesizes import A4
        from reportlab.pdfgen.canvas import Canvas

        for number, chart in enumerate(sorted(self._charts.iterdir())[40:48], 1):
            name = f"reports/report {number}.pdf"
            canvas = Canvas(str(self._place(name)), pagesize=A4)
            canvas.drawString(72, 770, f"Quarterly report, part {number}")
            canvas.drawString(72, 740, "The figure below was made by the department of statistics.")
            canvas.drawImage(str(chart), 72, 350, width=450, height=350, preserveAspectRatio=True)
            canvas.showPage()
            canvas.save()
            yield MixedFile(name, "a chart inside a page", "Quarterly report")

    def _pictures(self) -> Iterator[MixedFile]:
        stamps = sorted((self._packages / "usr/share/tuxpaint/stamps").rglob("*.png"))
        kept = stamps[:: max(1, len(stamps) // 11)]
        kinds = ("png", "jpg", "webp", "tiff", "bmp", "gif", "jpeg", "tif", "png", "jpg", "webp")
        for suffix, stamp in zip(kinds, kept, strict=False):
            name = f"photos/{stamp.stem}.{suffix}"
            Image.open(stamp).convert("RGBA").convert("RGB").save(self._place(name))
            yield MixedFile(name, "a picture of a thing")
        pillow_heif.register_heif_opener()
        charts = sorted(self._charts.iterdir())[60:63]
        for suffix, chart in zip(("png", "avif", "heic"), charts, strict=True):
            name = f"charts/chart.{suffix}"
            Image.open(chart).convert("RGB").save(self._place(name))
            yield MixedFile(name, "a chart")

    def _letters(self) -> Iterator[MixedFile]:
        for number, (subject, said) in enumerate(_LETTERS.items(), 1):
            letter = EmailMessage()
            letter["Subject"], letter["From"] = subject, f"someone{number}@example.org"
            letter["To"], letter["Date"] = "all@example.org", "Mon, 02 Mar 2026 10:00:00 +0100"
            letter.set_content(said)
            if number == 2:
                letter.add_alternative(f"<html><body><b>{said}</b></body></html>", subtype="html")
            name = f"letters/{number}.eml"
            self._place(name).write_bytes(letter.as_bytes())
            yield MixedFile(name, "a letter", subject)

    def _others(self) -> Iterator[MixedFile]:
        from reportlab.pdfgen.canvas import Canvas

        blank = Canvas(str(self._place("scans/back side.pdf")))
        blank.showPage()
        blank.save()
        yield MixedFile("scans/back side.pdf", "a blank page")
        for name in ("other/archive.zip", "other/song.mp3", "other/library.so"):
            self._place(name).write_bytes(b"PK\x05\x06" + bytes(18))
            yield MixedFile(name, "of a kind that is not read")


_HEAD = ["country", "coordinates", "zone"]
_LETTERS = {
    "Invoice 4711 for the gaskets": "Please pay 320 crowns by Friday; the boiler waits.",
    "Sommerfest im Hafen": "Am Samstag feiern wir ab 15 Uhr am Kai, bitte bringt Kuchen mit.",
    "Réunion du conseil": "La prochaine séance du conseil aura lieu mardi à dix heures.",
    "Minutes of the chess club": "The clubhouse roof leaks; the treasurer will ask for offers.",
    "La cosecha de aceitunas": "Este año la cosecha empieza en octubre y faltan manos.",
}


def _words(text: str) -> str:
    """Some words of a text, from its middle."""
    words = text.split()
    middle = len(words) // 2
    return " ".join(words[middle : middle + 12])


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _flat_slides(titles: tuple[str, ...]) -> str:
    """A presentation in OpenDocument's one-file form, a text box a slide."""
    spaces = " ".join(
        f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
        for name in ("office", "drawing", "text", "presentation", "style")
    )
    spaces += ' xmlns:draw="urn:oasis:names:tc:opendocument:xmlns:drawing:1.0"'
    spaces += ' xmlns:svg="urn:oasis:names:tc:opendocument:xmlns:svg-compatible:1.0"'
    pages = "".join(
        f'<draw:page draw:name="page{n}"><draw:frame svg:x="2cm" svg:y="3cm" svg:width="20cm"'
        f' svg:height="4cm"><draw:text-box><text:p>{title}</text:p></draw:text-box></draw:frame>'
        f"</draw:page>"
        for n, title in enumerate(titles, 1)
    )
    kind = "application/vnd.oasis.opendocument.presentation"
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><office:document {spaces} office:version="1.2"'
        f' office:mimetype="{kind}"><office:body><office:presentation>{pages}'
        f"</office:presentation></office:body></office:document>"
    )


def unpacked(work: Path) -> Path:
    """The packages, fetched where they are not there yet and unpacked into one folder."""
    root = work / "root"
    work.mkdir(parents=True, exist_ok=True)
    for package in PACKAGES:
        if not list(work.glob(f"{package}_*.deb")):
            subprocess.run(["apt-get", "download", "-q", package], cwd=work, check=True)
            [fetched] = work.glob(f"{package}_*.deb")
            subprocess.run(["dpkg-deb", "-x", fetched, root], check=True)
    return root


def main() -> None:
    """Read the command line, make the folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path(".data/mixed-packages"))
    charts = Path("../shared/data/opencqa_train/images")
    parser.add_argument("--charts", type=Path, default=charts, help="folder of pictures of charts")
    given = parser.parse_args()
    made = list(Maker(given.out, unpacked(given.work), given.charts).files())
    contents = given.out.with_name(f"{given.out.name}.json")
    contents.write_text(json.dumps([asdict(one) for one in made], ensure_ascii=False, indent=1))
    print(f"{len(made)} files in {given.out}; what they are: {contents}")


if __name__ == "__main__":
    main()
