"""家の造り: 4 つの手順が 4 つの部屋。どこからどこを読み込んでよいか。"""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from conftest import ROOT

ROOMS = {"questions", "training", "solving", "scoring"}
STEPS = {
    "convert_train": {"questions"},
    "convert_eval": {"questions"},
    "analysis": {"scoring"},
    "run_quiz": {"solving", "questions"},
}
# 部屋から部屋へ。学習曲線だけは、番号の確率を手順4の定義から借りる。
BETWEEN = {
    ("questions", "questions"),
    ("training", "questions"),
    ("solving", "questions"),
    ("scoring", "questions"),
}
BORROWED = ("quiz.training.curve", "quiz.solving.one_by_one")


def modules():
    """{quiz.training.curve のような名前: ファイル}。"""
    found = {}
    for path in sorted((ROOT / "quiz").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return found


def imports_of(path, known):
    """path が読み込む、known の名前の集合 (関数の中の import も)。"""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {name for name in names if name in known}
    return found - {"quiz"} - {f"quiz.{room}" for room in ROOMS}


def room_of(name):
    """モジュールの部屋。土台のモジュールなら ""。"""
    room = name.split(".")[1]
    return room if room in ROOMS else ""


KNOWN = modules()
ARROWS = {name: imports_of(path, KNOWN) for name, path in KNOWN.items()}


def test_four_rooms_over_a_ground():
    folders = {p.name for p in (ROOT / "quiz").iterdir() if p.is_dir() and p.name != "__pycache__"}
    assert folders == ROOMS


@pytest.mark.parametrize("name", [name for name in KNOWN if "." in name])
def test_arrows_of_a_module(name):
    """部屋は、自分の部屋と土台と questions だけを読み込む。土台は、部屋を読み込まない。"""
    for other in ARROWS[name]:
        here = room_of(name)
        there = room_of(other)
        allowed = not there or here == there or (here, there) in BETWEEN
        assert allowed or (name, other) == BORROWED, f"{name} → {other}"


def test_no_circle():
    list(TopologicalSorter(ARROWS).static_order())


@pytest.mark.parametrize("step", STEPS)
def test_arrows_of_a_step(step):
    """手順は、自分の部屋と土台だけを読み込み、どこからも読み込まれない。"""
    used = {room_of(name) for name in imports_of(ROOT / f"{step}.py", KNOWN)}
    assert used - {""} <= STEPS[step]
    for path in KNOWN.values():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        named = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert step not in named


def test_every_module_has_its_test():
    """どのモジュールにも、同じ名前の部屋に、その名前の試験がある。"""
    for name in KNOWN:
        if "." not in name:
            continue
        room = room_of(name) or "ground"
        word = name.rpartition(".")[2]
        assert list((ROOT / "tests" / room).glob(f"test_*{word}*.py")), name


def test_tests_import_no_test():
    """試験の部品は 1 か所にあり、試験のファイルからは読み込まない。"""
    for path in sorted(Path(ROOT, "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                assert not node.module.startswith("test_"), path
