"""実行条件: 結果に残す学習の設定、途中結果を続けてよいかを決める印。"""

import json
import shutil

import pytest
from conftest import read

from quiz.solving.conditions import files_digest, training_of


@pytest.fixture
def adapter(llama_run, tmp_path):
    """学習したアダプタの写し。"""
    return shutil.copytree(llama_run / "llama-qlora-out", tmp_path / "out")


def test_result_holds_every_setting_of_the_training(adapter, llama_run):
    """結果には、学習のすべての設定と、学習に使ったファイルの印が残る。"""
    report = read(adapter / "training.json")
    training = training_of(adapter)
    assert training["settings"] == report["settings"]
    assert training["settings"]["lora_r"] and training["settings"]["learning_rate"]
    assert training["train_files"] == report["train_files"]
    assert list(training["train_files"]) == ["train-5-inst.json"]
    assert training["seed"] == report["settings"]["seed"]
    for key in ("questions", "epochs", "steps_done", "seconds", "curve"):
        assert training[key] == report[key]
    summary = read(llama_run / "result.json")[-1]
    assert summary["training"] == json.loads(json.dumps(training))


def test_without_a_record(adapter):
    (adapter / "training.json").unlink()
    assert training_of(adapter) is None and training_of(None) is None


def test_digest_of_the_files(llama, adapter):
    """アダプタの重みか設定が書き換わると、印が変わる。関わりのないファイルでは変わらない。"""
    before = files_digest(str(llama), str(adapter))
    assert before == files_digest(str(llama), str(adapter))
    (adapter / "memo.txt").write_text("大事なメモ")
    assert files_digest(str(llama), str(adapter)) == before
    weights = adapter / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes() + b"\0")
    assert files_digest(str(llama), str(adapter)) != before != files_digest(str(llama), None)
