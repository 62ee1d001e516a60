"""モデルとトークナイザを読む: トークン列の照合、精度、読めないとき。"""

import importlib
import json
import shutil

import pytest
import torch
from conftest import CONFIG, DEMO, FAST, change_json, edit_yaml, read, step, step_error
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import Gemma2Config, LlamaConfig

from quiz.adapter import base_digest
from quiz.model import attention, encode_prompts, load_model, load_tokenizer, precision


def test_changed_tokens_are_refused(demo, tmp_path):
    """tokenizer_type を外すと transformers が正規化を変える。run_quiz.py は黙って続けない。"""
    text = (
        (demo / CONFIG)
        .read_text(encoding="utf-8")
        .replace("./data/demo/model", str(DEMO / "model"))
    )
    (tmp_path / "q.yml").write_text(
        text.replace("tokenizer_type: PreTrainedTokenizerFast", "tokenizer_type: AutoTokenizer")
    )
    wide = (demo / "quiz.json").read_text(encoding="utf-8").replace("?", "？")
    (tmp_path / "quiz.json").write_text(wide, encoding="utf-8")
    assert "トークン列が tokenizer.json と違います" in step_error(
        "run_quiz", "--config", "q.yml", "--base", cwd=tmp_path
    )
    assert not list(tmp_path.glob("result*"))


def test_padding_and_truncation_in_the_file(llama, tmp_path):
    """tokenizer.json に長さのそろえ方や切り方が書いてあっても、同じトークナイザとして使う。"""
    base = shutil.copytree(llama, tmp_path / "base")
    prompts = ["短い問題", "とても長い問題" * 10]
    expected = encode_prompts(load_tokenizer(llama, FAST), llama, prompts)
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    tokenizer.enable_padding(length=64)
    tokenizer.enable_truncation(max_length=8)
    tokenizer.save(str(base / "tokenizer.json"))
    assert (
        encode_prompts(load_tokenizer(base, FAST), base, prompts) == expected
        and len(expected[1]) > 64
    )


@pytest.mark.parametrize(
    "bf16, fp16, capability, dtype",
    [
        ("auto", False, (7, 5), "float16"),
        (True, False, (7, 5), "float16"),
        ("auto", False, (8, 0), "bfloat16"),
        ("auto", None, (9, 0), "bfloat16"),
        ("auto", True, (8, 0), "float16"),
        (False, False, (9, 0), "float32"),
        ("auto", False, None, "float32"),
        (False, True, None, "float32"),
        ("auto", None, None, "float32"),
    ],
)
def test_precision_follows_the_gpu_and_the_yaml(bf16, fp16, capability, dtype):
    """bf16 は compute capability 8.0 から (T4 は 7.5)。YAML が fp16 と言えば fp16。CPU は fp32。"""
    assert precision(bf16, fp16, capability) == dtype


def cut_weights(base, work):
    path = base / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda base, work: (base / "config.json").unlink(),
        cut_weights,
        lambda base, work: (base / "config.json").write_text(
            json.dumps(read(base / "config.json") | {"hidden_size": 128})
        ),
        lambda base, work: (work / "q.yml").write_text(
            (work / "q.yml").read_text().replace("PreTrainedTokenizerFast", "NoSuchTokenizer")
        ),
    ],
)
def test_model_that_cannot_be_read(spoil, llama, llama_run, tmp_path):
    """モデルが読めないときも 1 行で、前の結果は残る。

    ない設定、途中で切れた重み、重みの形の違い、トークナイザの名前の間違い。
    """
    base = shutil.copytree(llama, tmp_path / "base")
    (tmp_path / "q.yml").write_text(
        f"base_model: {base}\noutput_dir: out\ntokenizer_type: PreTrainedTokenizerFast\n"
    )
    before = json.dumps([{"elapsed_time": 1, "model": str(base), "adapter": None}])
    (tmp_path / "result-base.json").write_text(before)
    spoil(base, tmp_path)
    shutil.copy(llama_run / "quiz.json", tmp_path)
    assert f"{base} を読めません" in step_error(
        "run_quiz", "--config", "q.yml", "--base", cwd=tmp_path
    )
    assert (tmp_path / "result-base.json").read_text() == before


def test_unknown_model(llama_run):
    assert "some/unknown-model" in step_error(
        "run_quiz", "--model", "some/unknown-model", cwd=llama_run
    )


class Payload:
    """読むとファイルを作るプログラムになる、悪意のある pickle。"""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def test_program_in_the_weights_is_not_run(llama, llama_run, tmp_path):
    """重みの .bin に仕込まれたプログラムは実行せず、1 行で断る (weights_only)。"""
    base = shutil.copytree(
        llama, tmp_path / "base", ignore=shutil.ignore_patterns("*.safetensors*")
    )
    torch.save({"lm_head.weight": Payload(tmp_path / "ran")}, base / "pytorch_model.bin")
    (tmp_path / "q.yml").write_text(
        f"base_model: {base}\noutput_dir: out\ntokenizer_type: PreTrainedTokenizerFast\n"
    )
    shutil.copy(llama_run / "quiz.json", tmp_path)
    assert f"{base} を読めません" in step_error(
        "run_quiz", "--config", "q.yml", "--base", cwd=tmp_path
    )
    assert not (tmp_path / "ran").exists()
    torch.load(base / "pytorch_model.bin", weights_only=False)["lm_head.weight"].close()
    assert (tmp_path / "ran").exists()  # 仕込みそのものは本物


def rename_tensors(old, new):
    return lambda tensors: {name.replace(old, new): tensor for name, tensor in tensors.items()}


def half_the_layers(tensors):
    return {name: tensor for name, tensor in tensors.items() if ".layers.0." in name}


def more_layers(tensors):
    extra = {
        name.replace(".layers.1.", ".layers.7."): tensor.clone() for name, tensor in tensors.items()
    }
    return extra | tensors


def only_a(tensors):
    return {name: tensor for name, tensor in tensors.items() if "lora_A" in name}


@pytest.mark.parametrize(
    "change, told",
    [
        (rename_tensors("base_model.model.", "base_model.model.module."), "置き場所がない"),
        (rename_tensors("base_model.model.", "base_model.model._orig_mod."), "置き場所がない"),
        (rename_tensors(".layers.", ".language_model.layers."), "置き場所がない"),
        (half_the_layers, "足りない"),
        (only_a, "足りない"),
        (more_layers, "置き場所がない"),
        (lambda tensors: {}, "足りない"),
    ],
)
def test_adapter_that_does_not_fit(change, told, llama_run, tmp_path):
    """テンソルの 1 つでも置き場所がないか足りないアダプタには問わない。

    PEFT は警告だけで、学習前のモデルの点になる。
    """
    work = shutil.copytree(
        llama_run, tmp_path / "work", ignore=shutil.ignore_patterns("result*", "last_run_prepared")
    )
    path = work / "llama-qlora-out/adapter_model.safetensors"
    # アダプタの印だけでなく、モデルに合うかも確かめる
    change_json(work / "llama-qlora-out/training.json", adapter_files=None)
    save_file(change(load_file(path)), path)
    error = step_error("run_quiz", "--max-questions", "3", cwd=work)
    assert "合わないアダプタ" in error and told in error
    assert not list(work.glob("result*"))


def test_base_model_replaced_after_training(llama, llama_run, tmp_path):
    """学習した後で、同じ場所のモデルの重みが替わっていれば、問わない。
    名前と大きさが同じでも分かる。"""
    work = shutil.copytree(llama_run, tmp_path / "work", ignore=shutil.ignore_patterns("result*"))
    base = shutil.copytree(llama, tmp_path / "base")
    edit_yaml(work / "qlora-opencalm.yml", base, "./llama-qlora-out")
    change_json(work / "llama-qlora-out/adapter_config.json", base_model_name_or_path=str(base))
    step("run_quiz", "--max-questions", "3", cwd=work)
    weights = load_file(base / "model.safetensors")
    save_file(
        {name: tensor * 1.5 for name, tensor in weights.items()},
        base / "model.safetensors",
        {"format": "pt"},
    )
    assert "学習したときと違います" in step_error(
        "run_quiz", "--max-questions", "3", "-o", "result-2.json", cwd=work
    )


def test_softcapping_needs_eager(llama):
    """注意の値を抑えるモデル (Gemma 2) は eager で計算する: sdpa は、黙って抑えずに計算する。"""
    config = Gemma2Config(attn_logit_softcapping=5.0)
    assert attention({"attn_implementation": "sdpa"}, config) == attention({}, config) == "eager"
    assert attention({}, Gemma2Config(attn_logit_softcapping=None)) == "sdpa"
    assert (
        attention({"attn_implementation": "flash_attention_2"}, LlamaConfig())
        == "flash_attention_2"
    )


def test_last_logits_take_one_product(llama):
    """最後の何列かの logits は、行ごとに分けず、語彙の重みとの積 1 回で求める (答えは同じ)。"""
    # アダプタの付いたモデルのように、もとの重みは動かない
    model = load_model(llama, None, FAST, "cpu").requires_grad_(False)
    ids = torch.arange(30).reshape(3, 10)
    expected = model(input_ids=ids).logits[:, -2:]
    with torch.profiler.profile(record_shapes=True) as profile:
        logits = model(input_ids=ids, logits_to_keep=2).logits
    assert torch.allclose(logits, expected, atol=1e-5)
    size = model.get_output_embeddings().weight.shape[0]
    shapes = [event.input_shapes for event in profile.events() if event.name == "aten::bmm"]
    assert not any(size in shape for arguments in shapes for shape in arguments)


def test_missing_weight_is_not_made_up(llama, llama_run, tmp_path):
    """足りない重みを、黙って乱数で埋めたモデルには問わない。"""
    base = shutil.copytree(llama, tmp_path / "base")
    weights = load_file(base / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, base / "model.safetensors", {"format": "pt"})
    shutil.copy(llama_run / "quiz.json", tmp_path)
    edit_yaml(tmp_path / "qlora-opencalm.yml", base, "./out")
    error = step_error("run_quiz", "--base", "--max-questions", "3", cwd=tmp_path)
    assert "up_proj.weight がありません" in error


def other_weights(adapter):
    path = adapter / "adapter_model.safetensors"
    save_file({name: tensor * 2 for name, tensor in load_file(path).items()}, path)


@pytest.mark.parametrize(
    "change",
    [other_weights, lambda adapter: change_json(adapter / "adapter_config.json", lora_alpha=512)],
    ids=["weights", "alpha"],
)
def test_adapter_replaced_after_training(change, llama_run, tmp_path):
    """training.json の隣のアダプタが、その学習の書いたものでなければ、どの問題も問わない。"""
    work = shutil.copytree(llama_run, tmp_path / "work", ignore=shutil.ignore_patterns("result*"))
    change(work / "llama-qlora-out")
    error = step_error("run_quiz", "--max-questions", "3", cwd=work)
    assert "学習の書いたものと違います" in error and not list(work.glob("result*"))


def test_program_beside_the_weights_is_part_of_the_model(llama, tmp_path):
    """trust_remote_code: true で動くプログラムが替わっても、別のモデルである。"""
    base = shutil.copytree(llama, tmp_path / "base")
    before = base_digest(base)
    (base / "modeling.py").write_text("LAYERS = 2")
    assert base_digest(base) != before == base_digest(llama)


def test_end_token_changed_beside_the_base_model(llama, llama_run, tmp_path):
    """special_tokens_map.json は終わりの記号を変え、番号の確率には表れない。"""
    work = shutil.copytree(llama_run, tmp_path / "work", ignore=shutil.ignore_patterns("result*"))
    base = shutil.copytree(llama, tmp_path / "base")
    edit_yaml(work / "qlora-opencalm.yml", base, "./llama-qlora-out")
    change_json(work / "llama-qlora-out/adapter_config.json", base_model_name_or_path=str(base))
    step("run_quiz", "--max-questions", "3", cwd=work)
    (base / "special_tokens_map.json").write_text('{"eos_token": "0"}')
    error = step_error("run_quiz", "--max-questions", "3", "-o", "result-2.json", cwd=work)
    assert "学習したときと違います" in error


def test_adapter_inside_the_base_model(llama, llama_run, tmp_path):
    """基のモデルのフォルダに入ったアダプタを、学習前のモデルとして問わない。"""
    base = shutil.copytree(llama, tmp_path / "base")
    for name in ("quiz.json", "train-5-inst.json"):
        shutil.copy(llama_run / name, tmp_path)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(llama_run / "llama-qlora-out" / name, base)
    edit_yaml(tmp_path / "qlora-opencalm.yml", base, "./out")
    assert "アダプタ" in step_error("run_quiz", "--base", "--max-questions", "3", cwd=tmp_path)
    assert "アダプタのフォルダ" in step_error(
        "quiz.training.preflight", "qlora-opencalm.yml", cwd=tmp_path
    )


def test_parts_for_gpus_are_not_used_on_a_cpu():
    """入っていても使わせない: CUDA 版の torch では読み込めてしまい、計算の途中で止まる。"""
    with pytest.raises(ImportError):
        importlib.import_module("fla")
