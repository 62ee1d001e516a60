"""YAML、基のモデルとアダプタの組み合わせ、書式の照合。"""

import json
import shutil

import pytest
from conftest import edit_yaml, step, step_error

from quiz.adapter import RECORD, as_trained, check_adapter, file_digest, find_model
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
    """基のモデルのフォルダは、どこから見た名前でもよい。

    ../model として学習したアダプタを、ほかの場所から使う。
    """
    work, model = tmp_path / "work", tmp_path / "model"
    model.mkdir()
    shutil.move(adapter, work / "out")
    (work / "out/adapter_config.json").write_text('{"base_model_name_or_path": "../model"}')
    for cwd, base, output_dir in (
        (work, "../model", "out"),
        (tmp_path, "./model", "work/out"),
        (tmp_path, str(model), "work/out"),
    ):
        monkeypatch.chdir(cwd)
        assert find_model({"base_model": base, "output_dir": output_dir}, "q.yml") == (
            base,
            output_dir,
        )
    (tmp_path / "other").mkdir()
    with pytest.raises(SystemExit, match="../model 用のアダプタ"):
        find_model({"base_model": "other", "output_dir": "work/out"}, "q.yml")


def test_choice_of_model(adapter):
    config = {"base_model": "some/model", "output_dir": str(adapter)}
    assert find_model(config, "q.yml") == ("some/model", str(adapter))
    assert find_model(config, "q.yml", use_base=True) == ("some/model", None)
    assert find_model(config, "q.yml", model="another/model") == ("another/model", None)
    assert find_model(config | {"output_dir": "nowhere"}, "q.yml", model=str(adapter)) == (
        "some/model",
        str(adapter),
    )
    for change, message in (
        ({"base_model": "x/y"}, "some/model"),
        ({"output_dir": "nowhere"}, "手順3"),
    ):
        with pytest.raises(SystemExit, match=message):
            find_model(config | change, "q.yml")


def report(adapter, **changes):
    """学習の記録を adapter に置く。"""
    question = Question("問い?", ("あ", "い"), 1)
    record = {
        "finished": True,
        "steps_done": 3,
        "steps_planned": 3,
        "train_files": {},
        "base_model": "some/model",
        "settings": {},
        "example": {"instruction": question.prompt, "output": question.answer},
    }
    (adapter / RECORD).write_text(json.dumps(record | changes))
    return record["example"]


def test_format_of_the_adapter(adapter):
    """書式の記録があれば比べ、なければ、確かめられないと言う。"""
    assert "確かめられません" in check_adapter(adapter)[0]
    example = report(adapter)
    assert not check_adapter(adapter)
    for wrong in (
        example | {"instruction": example["instruction"].replace("### 回答", "### 答え")},
        example | {"output": None},
        None,
        {},
    ):
        report(adapter, example=wrong)
        with pytest.raises(SystemExit, match="別の書式で学習したアダプタ"):
            check_adapter(adapter)


def test_training_file_changed_since(adapter, tmp_path):
    """学習した後で学習用ファイルが変わっていれば、そう言う。もうなければ、何も言わない。"""
    train = tmp_path / "train-5-inst.json"
    train.write_text("[]")
    report(adapter, train_files={str(train): file_digest(train)})
    assert not check_adapter(adapter)
    train.write_text("[{}]")
    assert f"今の {train} ではなく" in check_adapter(adapter)[0]
    report(adapter, train_files={str(train): file_digest(train)})
    assert f"{train} は {adapter} の学習に使った問題です" in check_adapter(adapter, [train])[0]
    train.unlink()
    assert not check_adapter(adapter)


def test_settings_of_the_training(adapter):
    """手順3のコマンドラインで変えた設定は、手順4でも同じになる。

    学習の記録がなければ、YAML のとおり。
    """
    yaml = {"load_in_4bit": True, "tokenizer_type": "A", "base_model": "b"}
    assert as_trained(yaml, None) == as_trained(yaml, adapter) == yaml
    followed = {
        "load_in_4bit": False,
        "tokenizer_type": "A",
        "attn_implementation": "eager",
        "bf16": False,
        "fp16": True,
    }
    report(adapter, settings=followed | {"seed": 1})
    assert as_trained(yaml, adapter) == yaml | followed


def test_unfinished_adapter(adapter):
    """学習が途中のアダプタには問わない。途中のチェックポイントは、名指しすれば使える。"""
    report(adapter, finished=False, steps_done=2)
    shutil.copytree(adapter, adapter / "checkpoint-2", ignore=shutil.ignore_patterns(RECORD))
    config = {"base_model": "some/model", "output_dir": str(adapter)}
    with pytest.raises(SystemExit, match=r"途中です \(2/3 ステップ\)"):
        find_model(config, "q.yml")
    assert find_model(config, "q.yml", model=str(adapter / "checkpoint-2"))[1] == str(
        adapter / "checkpoint-2"
    )


@pytest.mark.parametrize(
    "text, where",
    [
        (None, "q.yml"),
        ("base_model: a\n b: - c\n", "q.yml:2"),
        ("base_model: a\n", "output_dir"),
        ("- a\n", "base_model"),
        ("base_model:\noutput_dir: b\n", "base_model"),
        ("base_model: モデル\noutput_dir: b\n".encode("cp932"), "q.yml:1"),
    ],
)
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
    results = tmp_path / "result-copied.json", llama_run / "result.json"
    outputs = [[r.get("output") for r in json.loads(path.read_text())[:5]] for path in results]
    assert outputs[0] == outputs[1]
