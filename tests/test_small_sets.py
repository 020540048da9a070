"""The comparison on small sets: its sets are made once, and its summary pairs the sides by seed."""

from pathlib import Path

from src.bench.small_sets import SmallSet, make_set, summarize


def test_a_set_is_made_once(tmp_path: Path) -> None:
    one = SmallSet("few", 32, 8, ((3, 2, 1),) * 10, source="digits")
    root = make_set(one, tmp_path, tmp_path)
    counts = {split: len(list(root.glob(f"{split}/*/*.png"))) for split in ("train", "val", "test")}
    assert counts == {"train": 30, "val": 20, "test": 10}
    first = (root / "train" / "class0" / "000.png").stat().st_mtime_ns
    assert make_set(one, tmp_path, tmp_path) == root
    assert (root / "train" / "class0" / "000.png").stat().st_mtime_ns == first


def test_the_summary_pairs_by_seed() -> None:
    rows = [["a", str(seed), side, str(0.5 + 0.1 * seed + 0.05 * (side == "ours")), "9", "3"]
            for seed in range(3) for side in ("ours", "fastai")]  # fmt: skip
    rows.append(["b", "0", "ours", "0.9", "9", "3"])
    table = summarize(rows).splitlines()
    assert len(table) == 3, "b has no pair yet"
    assert "+0.050 ± 0.000" in table[1] and "1.00" in table[1]
