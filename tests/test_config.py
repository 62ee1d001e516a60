"""YAML、基のモデルとアダプタの組み合わせ、書式の照合。"""

import json
import shutil

import pytest
from conftest import edit_yaml, step, step_error

from quiz.config import EXAMPLE, check_format, find_model
from quiz.prompt import Question


@pytest.fixture
def adapter(tmp_path):
    """some/model を学習したことになっているアダプタ。"""
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "some/model"}')
    (folder / "adapter_model.safetensors").write_bytes(b"")
    return folder


def test_same_folder_by_another_path(adapter, tmp_path, monkeypatch):
    """基のモデルのフォルダは、どこから見た名前でもよい: ../model として学習したアダプタを、ほかの場所から使う。"""
    work, model = tmp_path / "work", tmp_path / "model"
    model.mkdir()
    shutil.move(adapter, work / "out")
    (work / "out/adapter_config.json").write_text('{"base_model_name_or_path": "../model"}')
    for cwd, base, output_dir in ((work, "../model", "out"), (tmp_path, "./model", "work/out"), (tmp_path, str(model), "work/out")):
        monkeypatch.chdir(cwd)
        assert find_model({"base_model": base, "output_dir": output_dir}, "q.yml") == (base, output_dir)
    (tmp_path / "other").mkdir()
    with pytest.raises(SystemExit, match="../model 用のアダプタ"):
        find_model({"base_model": "other", "output_dir": "work/out"}, "q.yml")


def test_choice_of_model(adapter):
    config = {"base_model": "some/model", "output_dir": str(adapter)}
    assert find_model(config, "q.yml") == ("some/model", str(adapter))
    assert find_model(config, "q.yml", use_base=True) == ("some/model", None)
    assert find_model(config, "q.yml", model="another/model") == ("another/model", None)
    assert find_model(config | {"output_dir": "nowhere"}, "q.yml", model=str(adapter)) == ("some/model", str(adapter))
    for change, message in (({"base_model": "x/y"}, "some/model"), ({"output_dir": "nowhere"}, "手順3")):
        with pytest.raises(SystemExit, match=message):
            find_model(config | change, "q.yml")


def test_format_of_the_adapter(adapter):
    """書式の記録があれば比べ、なければ、確かめられないと言う。"""
    assert "確かめられません" in check_format(adapter)
    question = Question("問い?", ("あ", "い"), 1)
    example = {"instruction": question.prompt, "output": question.answer}
    (adapter / EXAMPLE).write_text(json.dumps([example]))
    assert check_format(adapter) is None
    (adapter / EXAMPLE).write_text(json.dumps([example | {"instruction": example["instruction"].replace("### 回答", "### 答え")}]))
    with pytest.raises(SystemExit, match="別の書式で学習したアダプタ"):
        check_format(adapter)


@pytest.mark.parametrize("text, where", [
    (None, "q.yml"), ("base_model: a\n b: - c\n", "q.yml:2"), ("base_model: a\n", "output_dir"), ("- a\n", "base_model"),
    ("base_model:\noutput_dir: b\n", "base_model"), ("base_model: モデル\noutput_dir: b\n".encode("cp932"), "q.yml:1")])
def test_broken_yaml(text, where, tmp_path):
    if text is not None:
        (tmp_path / "q.yml").write_bytes(text.encode() if isinstance(text, str) else text)
    assert where in step_error("run_quiz", "--config", "q.yml", cwd=tmp_path)


def test_model_option_takes_an_adapter(llama_run, llama, tmp_path):
    """--model にアダプタのフォルダを渡すと、YAML の output_dir の代わりに使う。"""
    shutil.copytree(llama_run / "llama-qlora-out", tmp_path / "copied")
    shutil.copy(llama_run / "quiz.json", tmp_path)
    edit_yaml(tmp_path / "qlora-opencalm.yml", llama, "./nowhere")
    step("run_quiz", "--model", "copied", "--max-questions", "5", cwd=tmp_path)
    outputs = [[r.get("output") for r in json.loads((folder / "result.json").read_text())[:5]] for folder in (tmp_path, llama_run)]
    assert outputs[0] == outputs[1]
