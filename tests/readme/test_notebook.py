"""docs/quiz.ipynb: コマンドは README と同じで、デモのセルは、上から順に最後まで動く。"""

import re
import shutil

import nbformat
from conftest import ROOT, blocks, read
from nbclient import NotebookClient

NOTEBOOK = ROOT / "docs/quiz.ipynb"


def code_cells(tag):
    """tag の付いた、コードのセル。"""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


def text_of(tag):
    """tag の付いたセルの中身を、つないだもの。"""
    return "\n".join(cell.source for cell in code_cells(tag))


def commands(tag):
    """tag の付いたセルが、端末に打つ行。"""
    found = []
    for line in text_of(tag).splitlines():
        if line.startswith("!"):
            found.append(line[1:])
    return found


def test_commands_are_those_of_readme():
    """デモは「デモの問題で練習する」、本物は、問題の取得と手順1から5までの、すべてのコマンド。"""
    readme = blocks(ROOT / "README.md", "bash")
    first = readme.index("python convert_train.py")
    practice = readme.index("python convert_train.py data/demo/train_questions.json")
    assert commands("demo") == readme[practice:]
    assert commands("real") == readme[first:practice]

    fetch = blocks(ROOT / "data/README.md", "bash")
    assert text_of("fetch").splitlines() == ["%%bash", *fetch]

    # 準備: ライブラリと、環境変数
    (install,) = commands("colab")
    assert install in readme
    variables = re.findall(r"^%env (.*)", text_of("demo"), re.M)
    assert f"export {' '.join(variables)}" in readme


def test_demo_cells_run(demo, clone):
    """デモの学習は 2 度しない: 置いたアダプタを、手順3は「済んでいます」と言う。"""
    shutil.copytree(demo / "demo-qlora-out", clone / "demo-qlora-out")
    notebook = nbformat.v4.new_notebook(cells=code_cells("demo"))
    for cell in notebook.cells:
        # ! の行が失敗しても、セルは失敗にならない
        if "\n!" in cell.source:
            cell.source += "\nassert _exit_code == 0"
    folder = {"metadata": {"path": str(clone / "docs")}}
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources=folder).execute()

    shown = ""
    for cell in notebook.cells:
        for output in cell.outputs:
            shown += output.text
    assert "demo-qlora-out の学習は済んでいます" in shown
    assert "エラー" not in shown
    # 回答と正誤は、data/demo/run.sh と同じ
    here = read(clone / "result-demo.json")[:-1]
    there = read(demo / "result.json")[:-1]
    for ours, theirs in zip(here, there, strict=True):
        assert (ours["output"], ours["hit"]) == (theirs["output"], theirs["hit"])
