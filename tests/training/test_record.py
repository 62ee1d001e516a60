"""学習の記録: アダプタの隣に残り、1 つの output_dir が 1 つの学習のものであることを守る。"""

import json
import shutil

import pytest
from conftest import read, refused, step, step_error

from quiz.adapter import RECORD
from quiz.training.record import last_checkpoint, occupy


def test_format_is_kept_beside_the_adapter(llama_run, tmp_path):
    """学習に使った最初の 1 件が、YAML の書式を通した形でアダプタの隣に残る。

    手順4と違う書式になる YAML では、学習しない。
    """
    first = read(llama_run / "train-5-inst.json")[0]
    assert read(llama_run / "llama-qlora-out/training.json")["example"] == first
    for name in ("train-5-inst.json", "qlora-opencalm.yml"):
        shutil.copy(llama_run / name, tmp_path)
    for kind in (
        {"no_input_format": "Q: {instruction} A: "},
        {"format": "{instruction}"},
        "alpaca",
    ):
        assert "手順4と違う書式" in refused(
            tmp_path, datasets=[{"path": "train-5-inst.json", "type": kind}], output_dir="new"
        )
    assert not (tmp_path / "new").exists()


def test_output_dir_belongs_to_one_training(llama_run, llama, tmp_path, capsys):
    """別のモデル、学習用ファイル、設定のアダプタがある output_dir では学習しない。

    済んでいれば、そう言って終わる。何も変えない。
    """
    work = shutil.copytree(llama_run, tmp_path / "work")
    out = work / "llama-qlora-out"
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    assert not refused(work, max_steps=2) and "学習は済んでいます" in capsys.readouterr().out
    assert "num_epochs: 前は 3、今は 1" in refused(work, max_steps=2, num_epochs=1)
    assert "learning_rate" not in refused(work, max_steps=2, seed=1)
    other = shutil.copytree(llama, tmp_path / "other")
    assert f"base_model: 前は {llama}、今は {other}" in refused(
        work, max_steps=2, base_model=str(other)
    )
    (work / "train-5-inst.json").write_text(json.dumps(read(work / "train-5-inst.json")[1:]))
    assert "train-5-inst.json の中身" in refused(work, max_steps=2)
    assert "この学習のものではないファイル" in refused(work, output_dir=str(other))
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before


def test_two_trainings_do_not_share_a_folder(tmp_path):
    occupy(tmp_path / "out")
    with pytest.raises(SystemExit, match="もう 1 つの学習が動いています"):
        occupy(tmp_path / "out")


def test_stopped_at_the_very_end(llama_run, tmp_path, capsys):
    """最後のチェックポイントを書いてから、アダプタを書き終えるまでに止まった学習は、
    余計に進めずに仕上げる。"""
    work = shutil.copytree(llama_run, tmp_path / "work")
    out = work / "llama-qlora-out"
    adapter, report = (out / "adapter_model.safetensors").read_bytes(), read(out / RECORD)
    (out / "adapter_model.safetensors").unlink()
    (out / RECORD).write_text(json.dumps(report | {"finished": False}))
    assert not refused(work, max_steps=2) and "学習は済んでいます" in capsys.readouterr().out
    assert (out / "adapter_model.safetensors").read_bytes() == adapter and read(
        out / RECORD
    ) == report
    step("run_quiz", "--max-questions", "2", "-o", "result-2.json", cwd=work)


@pytest.mark.parametrize("text", ["[]", "{}", "{", '{"finished": true}', '{"settings": null}'])
def test_broken_record(text, llama_run, tmp_path):
    """training.json が壊れていても 1 行で終わる。

    途中までのチェックポイントと、名前の似たフォルダは、続きに使わない。
    """
    work = shutil.copytree(llama_run, tmp_path / "work")
    out = work / "llama-qlora-out"
    for name in ("checkpoint-9", "checkpoint-2-old", "checkpoint-2x"):
        (out / name).mkdir()
    assert last_checkpoint(out) == out / "checkpoint-2"
    (out / RECORD).write_text(text)
    assert refused(work, max_steps=2).startswith("エラー: ") and "別の output_dir" in refused(
        work, max_steps=2
    )
    assert "training.json" in step_error("run_quiz", cwd=work)
