"""手順3: 本物の Axolotl で学習したアダプタと、学習に使われたトークン列。"""

import shutil
from collections import Counter

import datasets
import pytest
import torch
from axolotl.utils.dict import DictDefault
from conftest import FAST, read, run, step
from safetensors import safe_open
from tokenizers import Tokenizer

from quiz.config import check_format, read_config
from quiz.model import encode_prompts, load_tokenizer
from quiz.plain import Labels
from quiz.training import Plugin


def check_parity(work, base, train_file="train-5-inst.json"):
    """学習でマスクされた (-100 の) トークン列 = 評価で渡すトークン列 = tokenizer.json そのものの結果。"""
    config = read_config(next(work.glob("qlora-*.yml")))
    prompts = [r["instruction"] for r in read(work / train_file)]
    fed = encode_prompts(load_tokenizer(base, config), base, prompts)
    raw = Tokenizer.from_file(str(base / "tokenizer.json")).encode_batch(prompts)
    assert [e.ids for e in raw] == fed
    prepared = datasets.load_from_disk(str(max((work / "last_run_prepared").glob("*/"), key=lambda p: p.stat().st_mtime)))
    trained = Counter(tuple(i for i, label in zip(row["input_ids"], row["labels"]) if label == -100) for row in prepared)
    assert trained == Counter(map(tuple, fed))
    return prepared


def test_token_parity_demo(demo):
    base = demo.parent / "model"
    prepared = check_parity(demo, base)
    tokenizer = load_tokenizer(base, FAST)
    outputs = Counter(tokenizer.decode([x for x in row["labels"] if x != -100]) for row in prepared)
    assert outputs == Counter(r["output"] + tokenizer.eos_token for r in read(demo / "train-5-inst.json"))


def test_token_parity_llama(llama, llama_run):
    prepared = check_parity(llama_run, llama)
    assert all(row["input_ids"][0] == 1 and row["input_ids"][-1] == 2 for row in prepared)
    labels = Labels(load_tokenizer(llama, FAST), 5).tokens
    starts = {tuple(x for x in row["labels"] if x != -100)[:len(labels[0])] for row in prepared}
    assert starts == set(map(tuple, labels))


def test_adapter_targets(demo):
    """アダプタは、ブロックの線形層すべてに付き、埋め込みと lm_head には付かない。rank は YAML のとおり。"""
    with safe_open(demo / "demo-qlora-out/adapter_model.safetensors", "pt") as f:
        shapes = {k: f.get_slice(k).get_shape() for k in f.keys()}
    kinds = {k.split(".layers.")[1].partition(".")[2] for k in shapes}
    assert kinds == {f"{m}.lora_{s}.weight" for s in "AB" for m in (
        "attention.query_key_value", "attention.dense", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h")}
    model = read(demo.parent / "model/config.json")
    assert len(shapes) == 8 * model["num_hidden_layers"]
    assert {s[0] for k, s in shapes.items() if "lora_A" in k} == {64}


def test_adapter_targets_llama(llama_run):
    with safe_open(llama_run / "llama-qlora-out/adapter_model.safetensors", "pt") as f:
        kinds = {k.split(".lora_")[0].rpartition(".")[2] for k in f.keys()}
    assert kinds == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def test_format_is_kept_beside_the_adapter(llama_run, tmp_path):
    """学習に使った最初の 1 件が、YAML の書式を通した形でアダプタの隣に残る。YAML の書式を変えて学習したアダプタでは問わない。"""
    first = read(llama_run / "train-5-inst.json")[0]
    assert read(llama_run / "llama-qlora-out/train_example.json") == [first]
    plugin, text = Plugin(), "Q: {instruction} A: "
    for kind, shown in (({"no_input_format": text}, text.format(**first)), ("alpaca", "alpaca")):
        dataset = {"path": str(llama_run / "train-5-inst.json"), "type": kind}
        plugin.post_train(DictDefault(output_dir=str(tmp_path), datasets=[dataset]), None)
        assert read(tmp_path / "train_example.json") == [first | {"instruction": shown}]
        with pytest.raises(SystemExit, match="別の書式"):
            check_format(tmp_path)


@pytest.mark.skipif(torch.version.cuda is not None, reason="CUDA 版の torch では、GPU が見えないと Axolotl の 2 プロセスが始まらない")
def test_two_processes_train_together(llama_run, tmp_path, monkeypatch):
    """accelerate launch の 2 プロセス (CPU、gloo) が、問題を分けて 1 つのアダプタを学習する (DDP)。"""
    work = shutil.copytree(llama_run, tmp_path / "ddp")
    with (work / "qlora-opencalm.yml").open("a") as f:
        f.write("\nmax_memory:\n  cpu: 8GiB\n")  # Axolotl は 2 プロセスなら GPU があると決めてかかるので、CPU に置かせる
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    run("accelerate", "launch", "--multi_gpu", "--num_processes", "2", "-m", "axolotl.cli.train", "qlora-opencalm.yml",
        "--max_steps", "1", "--output_dir", "ddp-out", cwd=work)
    state = read(work / "ddp-out/checkpoint-1/trainer_state.json")
    # 1 回の更新で、YAML の 16 問 × 4 を 2 プロセス分使う。ばらばらに学習していれば、この半分になる。
    assert state["epoch"] == pytest.approx(2 * 16 * 4 / len(read(work / "train-5-inst.json")), rel=0.2)
    step("run_quiz", "--model", "ddp-out", "--max-questions", "2", cwd=work)


def test_yaml_has_no_deprecated_key(demo):
    """今の Axolotl が、廃止や改名を知らせる設定を使っていない。学習の記録 (TensorBoard) が残る。"""
    log = (demo / "train.log").read_text(encoding="utf-8")
    assert "deprecated" not in "\n".join(line for line in log.splitlines() if "axolotl" in line.lower()).lower()
    assert list(demo.glob("demo-qlora-out/runs/**/events.out.tfevents*"))
