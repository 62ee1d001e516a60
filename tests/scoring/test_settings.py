"""学習の設定の違い: 表の列と、図の横軸。"""

import pytest
from conftest import read, step
from samples import SETTINGS, record, solved, trained, write_result

from quiz.scoring.read_results import read_results
from quiz.scoring.rows import make_row
from quiz.scoring.settings import axis, varied


def cells_of(out, name):
    """表の、名前が name の行の欄。"""
    line = next(line for line in out.splitlines() if line.startswith(f"| {name} "))
    return [cell.strip() for cell in line.split("|")[1:-1]]


def test_settings_that_differ_are_columns(tmp_path):
    """学習の設定のうち違うものだけが列になり、差と、区間と、検定が並ぶ。"""
    for rank, hits in ((8, [1] * 10 + [0] * 20), (64, [1] * 25 + [0] * 5)):
        settings = SETTINGS | {"lora_r": rank, "lora_alpha": 16, "datasets": [{"path": f"{rank}"}]}
        trained(tmp_path / f"result-r{rank}.json", 1, hits, settings=settings)
    base = [{**record(False), "qid": f"q{i}"} for i in range(30)]
    write_result(tmp_path / "result-base.json", base, model="m", adapter=None, quiz=["quiz.json"])
    out = step("analysis", "--table", cwd=tmp_path).stdout
    header, *_ = [line for line in out.splitlines() if line.startswith("| Model ")]
    assert header.endswith("| vs best | vs base | lora_r |")
    assert cells_of(out, "result-r8")[-1] == "8" and cells_of(out, "result-r64")[-1] == "64"
    assert cells_of(out, "result-base")[-1] == "-"
    difference = next(
        line for line in out.splitlines() if "| result-r8 | result-r64 | 30 |" in line
    )
    assert "| -0.500 | " in difference and "| +0 -15 | p<0.001 |" in difference


@pytest.mark.parametrize(
    "settings, changes, name",
    [
        (SETTINGS | {"learning_rate": 0.1}, {}, "learning_rate"),
        (SETTINGS, {"questions": 20, "digest": "d2"}, "questions"),
        (SETTINGS, {"digest": "d2"}, "train_files"),
        (SETTINGS | {"lr_scheduler": "linear", "gradient_checkpointing": True}, {}, "lr_scheduler"),
    ],
)
def test_which_setting_differs(settings, changes, name, tmp_path):
    trained(tmp_path / "result-1.json", 1, [1, 0])
    trained(tmp_path / "result-2.json", 2, [1, 1], settings=settings, **changes)
    out = step("analysis", "--table", cwd=tmp_path).stdout
    assert out.splitlines()[1].endswith(f"| vs base | {name} |")


def test_line_break_in_a_setting(tmp_path):
    """設定の値や問題のファイルの名前に改行があっても、表の行は 1 行である。"""
    for seed, note in ((1, "a\nb|c"), (2, "z")):
        trained(tmp_path / f"result-{seed}.json", 1, [1, 0], settings=SETTINGS | {"note": note})
    *rows, summary = read(tmp_path / "result-1.json")
    rows[0]["genre"] = "雑学"
    write_result(tmp_path / "result-1.json", rows, **summary | {"quiz": ["quiz\n.json"]})
    out = step("analysis", "--table", cwd=tmp_path).stdout
    assert cells_of(out, "result-1")[-2] == "a b\\" and "### Table for key: quiz\n|" in out


def test_the_one_number_that_differs(tmp_path):
    """違う設定が 1 つの数だけで、値が 3 つあれば、図の横軸になる。"""
    for rank in (4, 8, 64):
        settings = SETTINGS | {"lora_r": rank, "lora_alpha": 16}
        trained(tmp_path / f"result-{rank}.json", 1, [1, 0], settings=settings)
    paths = [str(tmp_path / f"result-{rank}.json") for rank in (4, 8, 64)]
    # 別のモデルの学習前があっても、学習した結果どうしは 1 つの設定だけが違う
    solved(tmp_path / "result-base.json", [1, 0], None, "other")
    paths.append(str(tmp_path / "result-base.json"))
    rows = [make_row(result, result.answers) for result in read_results(paths)[0]]
    assert list(varied(rows)) == ["model", "lora_r"]
    name, values = axis(rows)
    assert name == "lora_r" and [values.get(row) for row in rows] == [4, 8, 64, None]
    assert axis(rows[:2]) is None
    # 2 つの設定が一緒に変わっていれば、どちらの効き目か分からない
    for rank in (4, 8, 64):
        settings = SETTINGS | {"lora_r": rank, "lora_alpha": 2 * rank}
        trained(tmp_path / f"result-{rank}.json", 1, [1, 0], settings=settings)
    rows = [make_row(result, result.answers) for result in read_results(paths)[0]]
    assert axis(rows) is None and list(varied(rows)) == ["model", "lora_r", "lora_alpha"]
