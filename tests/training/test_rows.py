"""学習に使う行が、手順4の問い方のとおりか。"""

import json
import shutil

import pytest
from conftest import DEMO, FAST, edit_yaml, read, step, step_error, train
from tokenizers import Tokenizer, processors

from quiz.model import load_tokenizer
from quiz.prompt import read_question
from quiz.training.rows import check_dataset, expected_rows


def always_add(base, before=(), after=()):
    """base のトークナイザが、どの文の前と後にもトークン (番号) を付けるようにする。"""
    path = str(base / "tokenizer.json")
    tokenizer = Tokenizer.from_file(path)
    names = {tokenizer.id_to_token(i): i for i in (*before, *after)}
    template = [
        *(tokenizer.id_to_token(i) for i in before),
        "$A",
        *(tokenizer.id_to_token(i) for i in after),
    ]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=list(names.items())
    )
    tokenizer.save(path)


@pytest.fixture
def work(llama, llama_run, tmp_path):
    """書き換えてよい、学習の前の作業フォルダ。モデルは base。"""
    shutil.copytree(llama, tmp_path / "base")
    for name in ("train-5-inst.json", "quiz.json"):
        shutil.copy(llama_run / name, tmp_path)
    edit_yaml(tmp_path / "qlora-opencalm.yml", "./base", "./out")
    return tmp_path


@pytest.mark.parametrize(
    "before, after, message",
    [
        ((7, 9), (), "プロンプトと回答の間に"),  # GLM-4 の [gMASK]<sop> のように、2 つ
        ((7,), (), "プロンプトと回答の間に"),  # BOS と名のらない、文の初めの記号
        ((1,), (2,), "終わりの記号を付ける"),  # どの文の終わりにも EOS
        ((1,), (7,), "プロンプトと回答の間に"),  # プロンプトの後に、回答の前の記号
    ],
)
def test_tokens_between_prompt_and_answer(before, after, message, work):
    """プロンプトと回答の間に、手順4の問い方にないトークンの入るトークナイザでは、学習しない。"""
    assert "次は: " in step("quiz.training.preflight", "qlora-opencalm.yml", cwd=work).stdout
    always_add(work / "base", before, after)
    assert message in step_error("quiz.training.preflight", "qlora-opencalm.yml", cwd=work)


def test_old_rows_are_not_trained(work):
    """is_preprocess を消し、学習用ファイルを書き換えても、前のトークン列では学習しない。"""
    yaml = work / "qlora-opencalm.yml"
    yaml.write_text(
        yaml.read_text(encoding="utf-8").replace("is_preprocess: true", ""), encoding="utf-8"
    )
    for n, out in ((80, "./first"), (24, "./second")):
        step("convert_train", DEMO / "train_questions.json", "--max-questions", n, cwd=work)
        options = ["--max_steps", "1", "--output_dir", out, "--learning_curve", "none"]
        text = train(work, *options).stdout
        assert f"学習しました: {n} 問" in text
        assert read(work / out / "training.json")["questions"] == n


def test_rows_that_differ_are_told(llama, llama_run):
    """学習に使われる行が 1 つでも違うか足りなければ、そう言う。順は問わない。"""
    questions = [read_question(r) for r in read(llama_run / "train-5-inst.json")[:6]]
    rows = expected_rows(load_tokenizer(llama, FAST), llama, questions)
    columns = {
        "input_ids": [list(ids) for ids, _ in rows],
        "labels": [list(labels) for _, labels in rows],
    }

    class Dataset(dict):
        def __len__(self):
            return len(self["labels"])

    check_dataset(Dataset(columns), rows[::-1])
    with pytest.raises(ValueError, match="6 行が、学習用ファイルの 5 問"):
        check_dataset(Dataset(columns), rows[1:])
    other = json.loads(json.dumps(columns))
    other["labels"][2][0] = other["input_ids"][2][0]  # プロンプトにもラベルがある行
    with pytest.raises(ValueError, match="1 行が、今の学習用ファイルのもの"):
        check_dataset(Dataset(other), rows)
