"""手順4のテストが使う、小さな乱数のモデル、問題、結果の比べ方。"""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import DEMO, FAST, quiz_of, read, step
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    GenerationConfig,
)

from quiz.model import encode_prompts, load_model, load_tokenizer
from quiz.solving.batched import Solver
from quiz.solving.by_text import ByText

SMALL = {
    "vocab_size": 8500,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
}

HEAD = {"head_dim": 16}
# 層の 1 つが、ふつうの注意ではないもの
HYBRID = {
    **HEAD,
    "layer_types": ["linear_attention", "full_attention"],
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
}
VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
# 画像も読むモデル: 文章の部分の設定、画像の部分の設定、そのほか
WRAPPERS = {
    "gemma3": (HEAD, VISION, {"mm_tokens_per_image": 4}),
    "gemma4": (
        {
            **HEAD,
            "global_head_dim": 16,
            "hidden_size_per_layer_input": 16,
            "vocab_size_per_layer_input": 8500,
            "num_kv_shared_layers": 0,
            "layer_types": ["sliding_attention", "full_attention"],
        },
        {**VISION, **HEAD, "num_key_value_heads": 2, "global_head_dim": 16, "patch_size": 4},
        {"audio_config": None},
    ),
    "qwen3_5": (
        HYBRID,
        {
            "depth": 1,
            "hidden_size": 32,
            "num_heads": 2,
            "intermediate_size": 64,
            "out_hidden_size": 64,
            "num_position_embeddings": 16,
        },
        {},
    ),
    "mistral3": (
        {**HEAD, "model_type": "ministral3"},
        {**VISION, **HEAD, "model_type": "pixtral"},
        {},
    ),
}


def enlarge_weights(model):
    """重みを大きくする (小さいと、位置を誤っても答えが変わらない)。"""
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() > 1:
                p.normal_(0, 0.1)


def make_wrapper(folder, kind):
    """重みが乱数の、画像も読む小さなモデル。トークナイザはデモのもの。"""
    torch.manual_seed(0)
    text, vision, more = WRAPPERS[kind]
    config = AutoConfig.for_model(
        kind, text_config={**SMALL, **text}, vision_config=vision, **more
    )
    model = AutoModelForImageTextToText.from_config(config)
    enlarge_weights(model)
    model.save_pretrained(folder)
    give_tokenizer(folder)
    return folder


def give_tokenizer(folder, source=DEMO / "model"):
    """source のトークナイザを写す。"""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(source / name, folder)


def uneven_questions(folder, n=24):
    """長さの大きく違う n 問。"""
    step("convert_eval", DEMO / "dev1_questions.json", cwd=folder)
    plain = quiz_of(Path(folder) / "quiz.json", n)
    longer = []
    for i, question in enumerate(plain):
        text = question.text + "これは長い前置きです。" * (i % 7)
        longer.append(dataclasses.replace(question, text=text))
    return longer


def converted_demo(folder):
    """デモの問題を変換したものと、デモのモデルを量子化しない YAML を、folder に置く。"""
    step("convert_train", DEMO / "train_questions.json", "--max-questions", "50", cwd=folder)
    step("convert_eval", DEMO / "dev1_questions.json", cwd=folder)
    text = (DEMO / "qlora-demo.yml").read_text(encoding="utf-8")
    text = text.replace("./data/demo/model", str(DEMO / "model"))
    text = text.replace("load_in_4bit: true", "load_in_4bit: false")
    (folder / "qlora-opencalm.yml").write_text(text, encoding="utf-8")
    return folder


def random_model(kind, **changes):
    """重みの大きい乱数のモデル (小さいと、位置を誤っても答えが変わらない)。"""
    torch.manual_seed(0)
    shape = {} if "vocab_size" in changes else SMALL
    config = AutoConfig.for_model(kind, **(shape | changes))
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() > 1:
                p.normal_(0, 0.15)
    model.generation_config = GenerationConfig()
    return model


def model_that_answers(tokenizer, text, end=None):
    """どの問題にも text と答えて終わる GPT-NeoX。次のトークンが、今のトークンだけで決まる。

    end は、終わりの印の代わりのトークン。改行なら、行を改めて、いつまでも text を繰り返す。
    """
    model = random_model("gpt_neox", use_parallel_residual=False)
    tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
    end = tokenizer.eos_token_id if end is None else end
    chain = [tokenizer("\n")["input_ids"][-1], *tokens, end]
    with torch.no_grad():
        # 埋め込みを大きくすると、最後の隠れ状態の向きは、ほぼ今のトークンだけで決まる
        embedding = model.gpt_neox.embed_in.weight
        embedding.mul_(1000)
        states = torch.nn.functional.layer_norm(embedding[chain[:-1]], embedding.shape[1:])
        model.lm_head.weight[chain[1:]] = states
    return model


def solver_of(model, questions, tokenizer=None, examples=None):
    """デモのトークナイザで questions を解く Solver。

    examples (例のリスト。空でもよい) を渡せば、選択肢の文字の確率も求める。
    """
    tokenizer = tokenizer or load_tokenizer(DEMO / "model", FAST)
    prompts = tokenizer([q.prompt for q in questions])["input_ids"]
    by_text = None if examples is None else ByText(model, tokenizer, questions, examples)
    return Solver(model, tokenizer, questions, prompts, "その模型", by_text)


def load_solver(base, adapter, config, questions, examples=None):
    """base と adapter を読んで questions を解く Solver。examples は solver_of と同じ。"""
    tokenizer = load_tokenizer(base, config)
    model = load_model(base, adapter, config, "cpu")
    prompts = encode_prompts(tokenizer, base, [q.prompt for q in questions])
    by_text = None if examples is None else ByText(model, tokenizer, questions, examples)
    return Solver(model, tokenizer, questions, prompts, by_text=by_text)


def check_plain_answers(solver, budget=1500):
    """全問の答えが、1 問ずつ定義のとおりに解いたものと同じ。"""
    for batch in solver.batches(range(len(solver.questions)), budget=budget):
        for i, (text, probs, by_text) in zip(batch, solver.answer(batch)):
            expected, expected_probs, expected_by_text = solver.answer_one(i)
            assert text == expected
            assert probs == pytest.approx(expected_probs, abs=1e-4)
            assert len(probs) == len(solver.questions[i].choices)
            assert by_text is expected_by_text is None or by_text == pytest.approx(
                expected_by_text, abs=1e-4
            )


def without(record, *keys):
    return {key: value for key, value in record.items() if key not in keys}


def check_same(first, *others):
    """README の約束: 回答と正誤は同じ。番号の確率の違いは 1e-4 以内。"""
    for other in others:
        *ours, run_conditions = read(first)
        *theirs, their_conditions = read(other)
        for a, b in zip(ours, theirs, strict=True):
            assert without(a, "seconds", "choice_probs") == without(b, "seconds", "choice_probs")
            assert a["choice_probs"] == pytest.approx(b["choice_probs"], abs=1e-4)
        assert run_conditions | {"elapsed_time": 0} == their_conditions | {"elapsed_time": 0}


def records_of(part):
    """途中結果の、書き終えている答え。"""
    records = []
    for line in part.read_bytes().split(b"\n")[1:]:
        try:
            records.append(json.loads(line))
        except ValueError:
            pass  # 書きかけの行
    return [record for record in records if record]
