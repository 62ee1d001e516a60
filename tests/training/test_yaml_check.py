"""YAML の間違い: 学習のコマンドが、学習の前に、日本語の 1 行で言う。"""

import shutil

import pytest
from conftest import ROOT, refused

from quiz.adapter import read_config
from quiz.training.yaml_check import check_followed, where

TYPE = "    type:\n"
MISTAKES = {  # 名前: (YAML の元の文字列, 書き間違い, 言うこと)
    "misspelt key": ("num_epochs: 3", "num_epoch: 3", "num_epochs の間違いではありませんか"),
    "plural": ("load_in_4bit: true", "load_in_4bits: true", "load_in_4bit の間違い"),
    "unlike any key": (
        "seed: 42",
        "わたしの設定: 1\nseed: 42",
        "'わたしの設定' という設定はありません。この行を消して",
    ),
    "dataset key": (
        "  - path: train-5-inst.json",
        "  - path: train-5-inst.json\n    ds_tipe: json",
        "ds_type の間違い",
    ),
    "type key": ("field_instruction:", "field_instrction:", "field_instruction の間違い"),
    "deleted": ("micro_batch_size: 16", "#", "micro_batch_size の行がありません"),
    "deleted epochs": ("num_epochs: 3", "#", "num_epochs の行がありません"),
    "deleted seed": ("seed: 42", "#", "seed の行がありません"),
    "deleted base": ("base_model: ", "#", "base_model の行がありません"),
    "empty": ("learning_rate: 0.00055", "learning_rate:", "learning_rate の行がありません"),
    "number as words": (
        "micro_batch_size: 16",
        "micro_batch_size: many",
        "'many' です。整数にしてください",
    ),
    "comma": ("lora_dropout: 0.05", "lora_dropout: 0,05", "'0,05' です。数にしてください"),
    "not a switch": (
        "load_in_4bit: true",
        "load_in_4bit: on!",
        "'on!' です。true か false にしてください",
    ),
    "not a name": (
        "tokenizer_type: PreTrainedTokenizerFast",
        "tokenizer_type: 3",
        "PreTrainedTokenizerFast にしてください",
    ),
    "unknown tokenizer": (
        "PreTrainedTokenizerFast",
        "PretrainedTokenizerFast",
        "PretrainedTokenizerFast はありません",
    ),
    "rate": (
        "learning_rate: 0.00055",
        "learning_rate: 5.5e-4x",
        "'5.5e-4x' です。数にしてください",
    ),
    "zero": ("micro_batch_size: 16", "micro_batch_size: 0", "0 より大きい"),
    "negative": ("num_epochs: 3", "num_epochs: -3", "0 より大きい"),
    "adapter": ("adapter: qlora", "adapter: qlor", "'lora' or 'qlora' にしてください"),
    "optimizer": ("adamw_torch_fused", "adamw_torch_fuse", "adamw_torch_fuse という値はありません"),
    "schedule": ("lr_scheduler: cosine", "lr_scheduler: cos", "cos という値はありません"),
    "precision": ("bf16: auto", "bf16: yess", "bf16"),
    "8 bit": ("load_in_4bit: true", "load_in_4bit: false", "load_in_4bit"),
    "attention": (": sdpa", ": sdpaa", "attn_implementation"),
    "flash-attn": (": sdpa", ": flash_attention_2", "sdpa にしてください"),
    "old name": ("seed: 42", "seed: 42\nflash_attention: true", "attn_implementation"),
    "two warm-ups": ("warmup_steps: 10", "warmup_steps: 10\nwarmup_ratio: 0.1", "warmup_ratio"),
    "no list": (
        "  - path: train-5-inst.json",
        "    path: train-5-inst.json",
        "「- 値」の並びにしてください",
    ),
    "no type": (TYPE, "    name:\n", "datasets.0.type の行がありません"),
    "train file": ("train-5-inst.json", "train-5.json", "手順1からやり直してください"),
    "short": ("sequence_len: 512", "sequence_len: 64", "を超え"),
    "long": ("sequence_len: 512", "sequence_len: 5120", "扱える長さ"),
    "memory": ("micro_batch_size: 16", "micro_batch_size: 1600000", "GiB"),
    "fsdp key": (
        "seed: 42",
        "seed: 42\nfsdp_config:\n  state_dict: FULL_STATE_DICT",
        "state_dict_type の間違い",
    ),
    "twice": ("seed: 42", "seed: 42\nseed: 1", "seed の行が 2 つあります"),
    "in quotes": ("load_in_4bit: true", 'load_in_4bit: "true"', "引用符なしで"),
    "number in quotes": ("lora_r: 64", 'lora_r: "64"', "引用符なしで"),
    "fsdp switch": (
        "seed: 42",
        "seed: 42\nfsdp_config: true",
        "fsdp_config が True です。「名前: 値」の並びに",
    ),
    "a path of windows": (
        "output_dir: ./llama-qlora-out",
        "output_dir: C:\\Users\\out",
        "フォルダは / で区切り",
    ),
    "curly quotes": ("output_dir: ./llama-qlora-out", "output_dir: “out”", "引用符は消して"),
    "validation": ("val_set_size: 0", "val_set_size: 0.1", "val_set_size は 0 に"),
    "lora in 4 bit": ("adapter: qlora", "adapter: lora", "load_in_4bit は false に"),
    "head": (
        "lora_target_modules: all-linear",
        "lora_target_modules: [q_proj, lm_head]",
        "lm_head は使え",
    ),
    "float16": ("seed: 42", "seed: 42\nfloat16: true", "float16 は使えません"),
    "packing": ("sample_packing: false", "sample_packing: true", "sample_packing は false に"),
    "home": ("output_dir: ./llama-qlora-out", "output_dir: ~/out", "~ は使えません"),
    "a file": (
        "output_dir: ./llama-qlora-out",
        "output_dir: ./quiz.json",
        "フォルダでもありません",
    ),
    "format": ('no_input_format: "{instruction}"', "#", "手順4と違う書式"),
    "another format": (
        'no_input_format: "{instruction}"',
        'no_input_format: "Q: {instruction}"',
        "手順4と違う書式",
    ),
    "field": ("field_output: output", "field_output: answer", "手順4と違う書式"),
    "two datasets": (
        "is_preprocess:",
        "  - path: train-5-inst.json\n    type: alpaca\nis_preprocess:",
        "手順4と違う書式",
    ),
    "targets": (
        "lora_target_modules: all-linear",
        "lora_target_modules: all_linear",
        "'all-linear' にしてください",
    ),
    "dropout": ("lora_dropout: 0.05", "lora_dropout: 5", "1.0 未満にしてください"),
    "seed": ("seed: 42", "seed: -1", "0 以上"),
    "endless": ("num_epochs: 3", "num_epochs: .inf", "限りのある数"),
    "steps": ("seed: 42", "seed: 42\nmax_steps: 0", "0 より大きい"),
    "own resume": (
        "seed: 42",
        "seed: 42\nresume_from_checkpoint: ./a",
        "続きからは、何もしなくても",
    ),
    "no optimizer": ("seed: 42", "seed: 42\nsave_only_model: true", "save_only_model は使えません"),
    "no plugin": (
        "  - quiz.training.plugin.Plugin",
        "  - axolotl.integrations.liger.LigerPlugin",
        "plugins に quiz.training.plugin.Plugin がありません",
    ),
    "here": ("output_dir: ./llama-qlora-out", "output_dir: .", "この学習のものではないファイル"),
    "nowhere": ("output_dir: ./llama-qlora-out", "output_dir: ./quiz.json/x", "作れません"),
    "quiz": ("learning_curve: quiz.json", "learning_curve: train.log", "JSON"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake_in_the_yaml(name, llama_run, tmp_path):
    """何が、どこで、次に何をするかを 1 行で言い、output_dir は作らない。"""
    old, new, message = MISTAKES[name]
    work = shutil.copytree(
        llama_run, tmp_path / "work", ignore=shutil.ignore_patterns("*out", "last_run_prepared")
    )
    text = (work / "qlora-opencalm.yml").read_text(encoding="utf-8")
    assert old in text
    (work / "qlora-opencalm.yml").write_text(text.replace(old, new, 1), encoding="utf-8")
    (work / "train.log").write_text("epoch 1")
    files = sorted(work.iterdir())
    error = refused(work)
    assert error.startswith("エラー: ") and "\n" not in error and message in error
    assert sorted(work.iterdir()) == files


def test_where_the_mistake_is(tmp_path):
    """YAML の行番号。コマンドラインで変えた値なら、その書き方。"""
    path = tmp_path / "q.yml"
    path.write_text("base_model: a\ndatasets:\n  - path: b\nseed: 1\n")
    config = {"base_model": "a", "datasets": [{"path": "b"}], "seed": 1}
    assert where(path, config, "seed") == f"{path}:4" and where(path, config, "path") == f"{path}:3"
    assert (
        where(path, config | {"seed": 2}, "seed")
        == where(path, config | {"sed": 2}, "sed").replace("sed", "seed")
        == "--seed"
    )
    assert where(path, config, None) == where(path, config, "num_epochs") == path


def test_the_yaml_itself_is_right():
    """リポジトリの YAML のどの行も、いまの Axolotl か、このリポジトリの設定にある。"""
    from quiz.training.yaml_check import check_settings

    check_settings(read_config(ROOT / "qlora-opencalm.yml"))


NOT_FOLLOWED = {
    "special_tokens": {"eos_token": "<|end|>"},
    "tokens": ["<extra>"],
    "tokenizer_config": "other/tokenizer",
    "revision_of_model": "v2",
    "model_revision": "v2",
    "overrides_of_model_config": {"rope_theta": 5},
    "model_config": {"rope_theta": 5},
    "overrides_of_model_kwargs": {"a": 1},
    "type_of_model": "LlamaForCausalLM",
    "base_model_config": "other/model",
    "bnb_config_kwargs": {"bnb_4bit_quant_type": "fp4"},
    "relora": True,
    "lisa_n_layers": 2,
    "unfrozen_parameters": ["lm_head"],
    "resize_token_embeddings_to_32x": True,
    "shrink_embeddings": True,
    "added_tokens_overrides": {3: "<a>"},
    "peft_init_lora_weights": "pissa",
    "lora_model_dir": "./old-out",
    "load_in_8bit": True,
    "load_best_model_at_end": True,
}


@pytest.mark.parametrize("key", NOT_FOLLOWED)
def test_setting_that_step_4_cannot_follow(key, llama_run):
    """モデルやトークナイザを base_model のものと変える設定は、学習の前に断る。

    消してあるのと同じ値なら、断らない。
    """
    error = refused(llama_run, **{key: NOT_FOLLOWED[key]})
    assert f"{key} は使えません" in error and "手順4" in error
    assert "学習は済んでいます" not in error


@pytest.mark.parametrize(
    "key, value", [("special_tokens", None), ("relora", False), ("tokens", [])]
)
def test_setting_that_says_nothing(key, value, llama_run):
    check_followed({key: value})
