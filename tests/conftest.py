"""テストの共通部品。学生が打つコマンドを、別の作業フォルダで実行する。"""

import base64
import importlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

ROOT = Path(__file__).parents[1]
DEMO, CONFIG = ROOT / "data/demo", "data/demo/qlora-demo.yml"
BIN = Path(sys.executable).parent
GUARD = ROOT / "tests/guard"  # 計算機の外へつながせない
os.environ.setdefault("SOCKET_LOG", str(Path(tempfile.mkdtemp(), "sockets.txt")))
os.environ |= {
    "PATH": f"{BIN}:{os.environ['PATH']}",
    "PYTHONPATH": f"{ROOT}:{GUARD}",
    "AXOLOTL_DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
}
sys.path[:0] = [str(ROOT), str(GUARD)]
import datasets
import pytest
import sitecustomize  # noqa: F401  このプロセスにも
import torch
import yaml
from axolotl.utils.dict import DictDefault
from filelock import FileLock
from launch import launch
from safetensors.torch import save_file
from sentencepiece import SentencePieceTrainer
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM
from transformers.convert_slow_tokenizer import bytes_to_unicode

from quiz.adapter import read_config
from quiz.files import read_records
from quiz.model import encode_prompts, load_tokenizer, quiet
from quiz.prepare_model import PATTERN
from quiz.prompt import read_question

quiet(".")
SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 1024,
}
FAST = {"tokenizer_type": "PreTrainedTokenizerFast"}  # YAML のうち、トークナイザを読むのに要る 1 行


# 1 つで 1 分近くかかるもの。組に入れず、空いた方のプロセスが、小さなテストより先にする
LONG = (
    "test_readme_typed",
    "test_killed_at_any_moment",
    "test_hub_that_fails",
    "test_twenty_large_files",
    "test_trained_model_is_the_one_asked",
    "test_table_has_every_model",
)
# 同じモデルを何度も作らないように、1 つのプロセスに集めるテスト: 使う fixture → 組
GROUPS = {"demo": "demo", "llama_source": "models", "qwen_v1": "models"}


@pytest.hookimpl(tryfirst=True)  # xdist が印を読む前に付ける
def pytest_collection_modifyitems(items):
    """2 つのプロセスへの分け方を決める。大きな組から始まり、残りは空いた方がする。"""
    items.sort(key=lambda item: item.originalname not in LONG)
    for item in items:
        groups = [GROUPS[name] for name in GROUPS if name in item.fixturenames]
        if groups and item.originalname not in LONG:
            item.add_marker(pytest.mark.xdist_group(groups[0]))


def pytest_sessionfinish(session):
    """外へつなごうとしたものがあれば、テスト全体を失敗にする。"""
    log = Path(os.environ["SOCKET_LOG"])
    if log.exists() and not hasattr(session.config, "workerinput"):
        print(f"\n計算機の外へつなごうとしました:\n{log.read_text()}")
        session.exitstatus = 1


def run(*command, cwd, status=0):
    """コマンドを別のプロセスで実行して結果を返す。終了コードが status でなければ失敗。"""
    result = subprocess.run(
        list(map(str, command)), cwd=cwd, capture_output=True, stdin=subprocess.DEVNULL
    )
    result.stdout, result.stderr = (
        result.stdout.decode(),
        result.stderr.decode(),
    )  # text=True は、進み具合の \r を改行に変えてしまう
    assert result.returncode == status, (
        f"{command}\n{result.stdout[-3000:]}\n{result.stderr[-3000:]}"
    )
    return result


def step(name, *args, cwd, status=0):
    """python name.py args と同じことを、ライブラリを読み込み直さずに、このプロセスの中でする。"""
    out, err, code = io.StringIO(), io.StringIO(), 0
    main = importlib.import_module(name).main
    with (
        chdir(cwd),
        redirect_stdout(out),
        redirect_stderr(err),
        mock.patch.object(sys, "argv", [f"{name}.py", *map(str, args)]),
    ):
        try:
            main()
        except SystemExit as e:
            code = e.code if isinstance(e.code, int) else 1
            print(
                e.code if isinstance(e.code, str) else "",
                file=err,
                end="\n" if isinstance(e.code, str) else "",
            )
    assert code == status, f"{name} {args}\n{out.getvalue()}\n{err.getvalue()}"
    return SimpleNamespace(stdout=out.getvalue(), stderr=err.getvalue())


def step_error(name, *args, cwd):
    """step が日本語 1 行のエラーで終わることを確かめ、その行を返す。"""
    error = step(name, *args, cwd=cwd, status=1).stderr
    assert error.startswith("エラー: ") and error.count("\n") == 1, error
    return error


def quiz_of(path, n=None):
    """quiz.json の先頭から n 問の Question のリスト。"""
    return [read_question(r) for _, r in read_records(path, "")][:n]


def write_rows(path, *rows):
    path.write_text(
        "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8"
    )


def read(path):
    return json.loads(Path(path).read_text(encoding="utf-8"))


def edit_yaml(target, base_model, output_dir):
    """YAML の先頭 2 行だけを、教員がするように書き換える。"""
    text = (ROOT / "qlora-opencalm.yml").read_text(encoding="utf-8")
    text = re.sub(r"^base_model:.*", f"base_model: {base_model}", text, flags=re.M)
    target.write_text(
        re.sub(r"^output_dir:.*", f"output_dir: {output_dir}", text, flags=re.M), encoding="utf-8"
    )


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """README の 1 つ目のコマンド (data/demo/run.sh) を、リポジトリの写しで実行した後の、
    その作業フォルダ。

    先に要るプロセスが 1 度だけ実行し、どのプロセスも、その写しを使う。
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    done = shared / "demo-done"
    with FileLock(f"{done}.lock"):
        if not done.exists():
            run_demo(tmp_path_factory.mktemp("clone") / "repo").rename(done)
    return shutil.copytree(done, tmp_path_factory.mktemp("demo") / "seed-42", symlinks=True)


def run_demo(copy):
    """リポジトリの写し copy で data/demo/run.sh を実行し、作業フォルダを返す。"""
    copy_repository(copy)
    result = run("env", f"PYTHONPATH={GUARD}", "bash", "data/demo/run.sh", cwd=copy)
    work = copy / "data/demo/out/seed-42"
    for name in ("stdout", "stderr"):
        (work / f"{name}.txt").write_text(getattr(result, name), encoding="utf-8")
    return work


def copy_repository(copy):
    """リポジトリの、手順を打つ前の写しを作る。.venv は、テストを動かしているもの。"""
    left = ".git", ".venv", "out", "*cache*", "*-out", "result*.json", "last_run*"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*left))
    for path in (*copy.glob("quiz*.json"), *copy.glob("train-*.json")):
        path.unlink()
    (copy / ".venv").symlink_to(BIN.parent)


@pytest.fixture
def clone(tmp_path):
    """リポジトリの写し。"""
    copy_repository(tmp_path / "repo")
    return tmp_path / "repo"


def make_sentencepiece(folder, bos=True, **options):
    """tokenizer.model と tokenizer_config.json だけのトークナイザ。bos は、BOS を付けるか。"""
    plain = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False}
    SentencePieceTrainer.train(
        input=str(DEMO / "train_questions.json"),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=2500,
        byte_fallback=True,
        split_digits=True,
        minloglevel=2,
        **plain | options,
    )
    symbols = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    adding = {"add_bos_token": bos, "add_eos_token": False}
    config = {"tokenizer_class": "LlamaTokenizer", **symbols, **adding}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


@pytest.fixture(scope="session")
def llama_source(tmp_path_factory):
    """トークナイザが tokenizer.model (SentencePiece。先頭に ▁、BOS を付ける、pad なし) だけの、
    小さな Llama。"""
    folder = tmp_path_factory.mktemp("llama-source")
    make_sentencepiece(folder, model_type="bpe")
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(vocab_size=2500, num_key_value_heads=2, **SHAPE)).save_pretrained(
        folder
    )
    return folder


def prepared(source, folder):
    """python -m quiz.prepare_model で source を直した、folder の中のモデル。"""
    step("quiz.prepare_model", source, folder / "model", cwd=folder)
    return folder / "model"


@pytest.fixture(scope="session")
def llama(llama_source, tmp_path_factory):
    """llama_source に tokenizer.json を作ったモデル。"""
    return prepared(llama_source, tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="session")
def mistral(llama, tmp_path_factory):
    """Llama と同じトークナイザを持つ、小さな Mistral (離れた位置を見ない sliding window つき)。"""
    folder = tmp_path_factory.mktemp("mistral")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(llama / name, folder)
    torch.manual_seed(1)
    MistralForCausalLM(
        MistralConfig(vocab_size=2500, num_key_value_heads=2, sliding_window=512, **SHAPE)
    ).save_pretrained(folder)
    return folder


def qwen_v1_weights():
    """Qwen 第 1 世代の名前と形の、乱数の重み。線形層は (出力, 入力)。"""
    hidden, inner, vocabulary = SHAPE["hidden_size"], SHAPE["intermediate_size"], 8000
    shapes = {
        "transformer.wte.weight": (vocabulary, hidden),
        "transformer.ln_f.weight": (hidden,),
        "lm_head.weight": (vocabulary, hidden),
    }
    for i in range(SHAPE["num_hidden_layers"]):
        shapes |= {
            f"transformer.h.{i}.{name}": shape
            for name, shape in {
                "ln_1.weight": (hidden,),
                "ln_2.weight": (hidden,),
                "attn.c_attn.weight": (3 * hidden, hidden),
                "attn.c_attn.bias": (3 * hidden,),
                "attn.c_proj.weight": (hidden, hidden),
                "mlp.w1.weight": (inner, hidden),
                "mlp.w2.weight": (inner, hidden),
                "mlp.c_proj.weight": (hidden, inner),
            }.items()
        }
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(shape, generator=generator) * 0.2 + ("ln_" in name)
        for name, shape in shapes.items()
    }


@pytest.fixture(scope="session")
def qwen_v1(tmp_path_factory):
    """nekomata の形式 (Qwen 第 1 世代。2 つに分けた重みと、tokenizer.json のない qwen.tiktoken)
    の、小さなモデル。"""
    folder = tmp_path_factory.mktemp("qwen-v1")
    (folder / "config.json").write_text(
        json.dumps(
            {
                "model_type": "qwen",
                "architectures": ["QWenLMHeadModel"],
                "auto_map": {"AutoModelForCausalLM": "modeling_qwen.QWenLMHeadModel"},
                "vocab_size": 8000,
                "hidden_size": SHAPE["hidden_size"],
                "intermediate_size": 2 * SHAPE["intermediate_size"],
                "num_hidden_layers": SHAPE["num_hidden_layers"],
                "num_attention_heads": 4,
                "kv_channels": 16,
                "seq_length": 1024,
                "layer_norm_epsilon": 1e-6,
                "rotary_emb_base": 10000,
                "rotary_pct": 1.0,
                "no_bias": True,
                "use_dynamic_ntk": True,
                "use_logn_attn": True,
                "tie_word_embeddings": False,
                "fp16": False,
                "bf16": False,
            }
        )
    )
    weights = qwen_v1_weights()
    shards = {
        f"model-0000{i + 1}-of-00002.safetensors": names
        for i, names in enumerate((list(weights)[:9], list(weights)[9:]))
    }
    for shard, names in shards.items():
        save_file({n: weights[n] for n in names}, folder / shard)
    (folder / "model.safetensors.index.json").write_text(
        json.dumps(
            {
                "metadata": {"total_size": 0},
                "weight_map": {n: shard for shard, names in shards.items() for n in names},
            }
        )
    )
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    t.train(
        [str(DEMO / "train_questions.json")],
        trainers.BpeTrainer(
            vocab_size=6000,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    to_byte = {c: b for b, c in bytes_to_unicode().items()}
    (folder / "qwen.tiktoken").write_bytes(
        b"".join(
            base64.b64encode(bytes(to_byte[c] for c in token)) + f" {i}\n".encode()
            for token, i in sorted(t.get_vocab().items(), key=lambda item: item[1])
        )
    )
    return folder


@pytest.fixture(scope="session")
def qwen(qwen_v1, tmp_path_factory):
    """qwen_v1 を Qwen2 の形に直したモデル。"""
    return prepared(qwen_v1, tmp_path_factory.mktemp("qwen"))


def train(work, *options):
    """手順3 (tests/launch.py)。"""
    result = launch(["qlora-opencalm.yml", *options], work)
    assert result.returncode == 0, f"{options}\n{result.stdout[-3000:]}\n{result.stderr[-3000:]}"
    return result


def solve(work, base, name):
    """YAML の先頭の 2 行だけを替えて学習し、解かせて、採点する。"""
    edit_yaml(work / "qlora-opencalm.yml", base, f"./{name}-qlora-out")
    train(work, "--max_steps", "2")
    (work / "result.json").unlink(missing_ok=True)
    step("run_quiz", "--max-questions", "6", cwd=work)
    assert "result.json" in step("analysis", cwd=work).stdout
    return work


@pytest.fixture(scope="session")
def llama_run(llama, tmp_path_factory):
    """Llama で手順1から5までを通した作業フォルダ。"""
    work = tmp_path_factory.mktemp("llama-run")
    step("convert_train", DEMO / "train_questions.json", "--max-questions", "200", cwd=work)
    step("convert_eval", DEMO / "dev1_questions.json", cwd=work)
    return solve(work, llama, "llama")


# --- 学習の部品


def change_json(path, **values):
    path.write_text(json.dumps(read(path) | values))


def check_parity(work, base, train_file="train-5-inst.json"):
    """学習でマスクされた (-100 の) トークン列 = 評価で渡すトークン列 = tokenizer.json
    そのものの結果。"""
    config = read_config(
        work / "qlora-opencalm.yml" if (work / "qlora-opencalm.yml").exists() else work / CONFIG
    )
    prompts = [r["instruction"] for r in read(work / train_file)]
    fed = encode_prompts(load_tokenizer(base, config), base, prompts)
    raw = Tokenizer.from_file(str(base / "tokenizer.json")).encode_batch(prompts)
    assert [e.ids for e in raw] == fed
    prepared = datasets.load_from_disk(
        str(max((work / "last_run_prepared").glob("*/"), key=lambda p: p.stat().st_mtime))
    )
    trained = Counter(
        tuple(i for i, label in zip(row["input_ids"], row["labels"]) if label == -100)
        for row in prepared
    )
    assert trained == Counter(map(tuple, fed))
    return prepared


def register(work, **changes):
    """Axolotl が YAML を読んだ直後にすることを、このプロセスの中でする。"""
    from quiz.training.plugin import Plugin

    name = "qlora-opencalm.yml"
    # 占めるのはプロセスが終わるまでなので、次の register が断られてしまう。
    with chdir(work), mock.patch("quiz.files.fcntl.flock"):
        given = yaml.safe_load(Path(name).read_text())
        cfg = DictDefault(given | {"axolotl_config_path": name} | changes)
        plugin = Plugin()
        plugin.register(cfg)
    return plugin


def refused(work, **changes):
    """register が断る 1 行。"""
    with pytest.raises(SystemExit) as e:
        register(work, **changes)
    return str(e.value)


def blocks(document, language):
    """document の、language のコードブロックの行。行末の \\ で続く行は 1 行にする。"""
    # ``` で切ると、奇数番目が「言語の名前と改行、中身」になる
    pieces = re.split(r"^```", document.read_text(encoding="utf-8"), flags=re.M)[1::2]
    named = [piece.partition("\n") for piece in pieces]
    found = [code for name, _, code in named if name == language]
    return "".join(found).replace("\\\n", " ").splitlines()
