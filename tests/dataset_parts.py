"""What tests of data sets share: folders with an index, folders of scenes, and photographs without a file."""

from pathlib import Path

from conftest import picture_bytes

from training.dataset import Photograph

HEADER = "path,split,class,source,group"


def folder_with(folder: Path, *rows: str, header: str = HEADER) -> Path:
    """An index with these rows; every path in them exists."""
    for row in rows:
        (folder / row.split(",")[0]).write_bytes(row.encode())
    (folder / "index.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder


def many(*groups: tuple[str, str, int]) -> list[Photograph]:
    """Photographs by (group, label, how many)."""
    return [
        Photograph(path=Path("x"), name=f"{group}/{n}", split="train", label=label, group=group)
        for group, label, count in groups
        for n in range(count)
    ]


def picture(folder: Path, name: str, seed: int, *, size_px: tuple[int, int] = (160, 120)) -> None:
    """The scene with this seed in a file; another size is a near duplicate."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture_bytes(seed, size_px=size_px))


def scenes(folder: Path, **counts: int) -> Path:
    """Class folders with so many scenes each, of three near duplicates each."""
    for place, (label, count) in enumerate(counts.items()):
        for number in range(count):
            for size in range(3):
                name = f"{label}/{size}-{number:03}.jpg"
                picture(folder, name, 1000 * place + number, size_px=(160 + 20 * size, 120))
    return folder
