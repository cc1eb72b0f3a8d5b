"""Files of the repository outside of docs/ that the website shows: hooks of MkDocs."""

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files, InclusionLevel

PAGES = ("CONTRIBUTING.md", "CHANGELOG.md")
RESULTS = "benchmarks/results"


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of the repository's root, and the tables and pictures of the benchmarks."""
    root = Path(config.config_file_path).parent
    results = [path.relative_to(root).as_posix() for path in (root / RESULTS).rglob("*.*")]
    results = [name for name in results if name.endswith((".md", ".png"))]
    for name in (*PAGES, *sorted(results)):
        if not (root / name).is_file():
            files.append(File.generated(config, name, content=f"# {name}\n\nNot written yet.\n"))
            continue
        level = InclusionLevel.INCLUDED if name in PAGES else InclusionLevel.NOT_IN_NAV
        files.append(File(name, str(root), config.site_dir, config.use_directory_urls, inclusion=level))
    return files


def on_page_markdown(markdown: str, page: Any, **kwargs: Any) -> str:
    """Turn links that work in the repository into links that work on the website, where docs/ is the root."""
    if page.file.src_uri in PAGES:
        return markdown.replace("](docs/", "](")
    depth = page.file.src_uri.count("/")
    return markdown.replace(f"]({'../' * (depth + 1)}", f"]({'../' * depth}")
