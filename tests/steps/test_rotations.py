"""選択肢の順を変えて解かせること: 並べ方と、コマンド。"""

from conftest import read, step


def test_rotations_and_blank_question_by_command(llama_run):
    """コマンドで解かせる。並べ替えは途中からも続き、分析は 1 問 1 件として読む。"""
    step("run_quiz", "--rotations", "--max-questions", "4", cwd=llama_run)
    *records, summary = read(llama_run / "result-rotations.json")
    assert [r["rotation"] for r in records] == [0, 1, 2, 3, 4] * 4 and len(
        {r["qid"] for r in records}
    ) == 4
    assert len({(r["qid"], r["correct_answer"].partition(": ")[2]) for r in records}) == 4
    step("run_quiz", "--blank-question", "--max-questions", "4", cwd=llama_run)
    assert all("問題:  \n" in r["prompt"] for r in read(llama_run / "result-blank.json")[:-1])
    out = step("analysis", "--table", "result-rotations.json", "result.json", cwd=llama_run).stdout
    assert "| result-rotations (順の平均)" in out and "| 4 |" in out and "p<" not in out
