"""手順3の YAML とアダプタ。

YAML を読み、どのモデルとアダプタに問うかを決め、アダプタの記録 (training.json) と照らし合わせる。
"""

import json
import shlex
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import yaml

from quiz.files import fail, read_records, read_text
from quiz.prompt import read_question

WEIGHTS = "adapter_model.safetensors"
# アダプタの隣に残す、学習の記録
RECORD = "training.json"

# 答えに関わる設定。手順3ではコマンドラインでも変えられるので、手順4は YAML ではなく
# 学習の記録に従う。
FOLLOWED = ("load_in_4bit", "tokenizer_type", "attn_implementation", "bf16", "fp16")

# 基のモデルの印に入れるファイル: 設定、トークナイザ、重み、付いてくるプログラム
MODEL_FILES = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "*.index.json",
    "*.safetensors",
    "pytorch_model*.bin",
    "*.py",
)
# 重みのファイルは大きいので、印は、等間隔の 16 か所を 1 MiB ずつ読んで作る。
SAMPLES = 16
SAMPLE_BYTES = 2**20


@dataclass(frozen=True)
class TrainingRecord:
    """学習の記録。前の版が書いたものには、後ろの方の項目がない。"""

    base_model: str
    train_files: dict  # 学習用ファイルの場所と、中身の sha256
    example: dict  # 学習に使った最初の 1 件
    settings: dict  # YAML とコマンドラインの設定
    finished: bool
    steps_done: int
    steps_planned: int
    questions: int = 0
    epochs: float = 0.0
    seconds: float = 0.0
    first_loss: float | None = None
    last_loss: float | None = None
    # エポックごとの {"epoch", "step", "accuracy", "probability"}
    curve: list = field(default_factory=list)
    base_files: str | None = None  # 基のモデルのファイルの印 (base_digest)
    adapter_files: str | None = None  # 書き終えたアダプタの印 (adapter_digest)
    self_check: dict | None = None  # 学習の終わりに自分に問うた結果 (training/curve.py)


def read_config(path):
    """Axolotl の YAML を読んで dict を返す。base_model と output_dir は文字。"""
    text = read_text(path, "YAML の場所を確かめてください。")
    try:
        config = yaml.safe_load(text)
    except yaml.YAMLError as e:
        mark = getattr(e, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        fail(f"{path}:{line}: YAML として読めません。字下げと : の後の空白を確かめてください。")

    given = config if isinstance(config, dict) else {}
    for key in ("base_model", "output_dir"):
        if not isinstance(given.get(key), str):
            fail(f"{path}:1: {key} がありません。元の qlora-opencalm.yml と比べてください。")
    return config


def read_record(adapter):
    """アダプタのフォルダにある TrainingRecord。なければ None。"""
    path = Path(adapter, RECORD)
    todo = "別の output_dir で、手順3をやり直してください。"
    if not path.exists():
        return None

    # 項目は、前の版では少なく、後の版では多いかもしれない
    _, saved = next(read_records(path, todo), (1, {}))
    known = TrainingRecord.__dataclass_fields__
    values = {key: value for key, value in saved.items() if key in known}
    try:
        return TrainingRecord(**{"example": None, **values})
    except TypeError:
        fail(f"{path}: 学習の記録が壊れています。{todo}")


def file_digest(path):
    """ファイルの中身の印。なければ None。"""
    file = Path(path)
    return sha256(file.read_bytes()).hexdigest() if file.is_file() else None


def base_digest(base):
    """基のモデルの、設定とトークナイザと重みのファイルの印。

    名前が同じでも、中身が替われば変わる。
    """
    from transformers.utils import cached_file

    folder = Path(cached_file(base, "config.json")).parent
    paths = []
    for pattern in MODEL_FILES:
        paths += folder.glob(pattern)

    return sampled_digest(paths)


def adapter_digest(adapter):
    """アダプタの重みと設定の印。

    基のモデルの名前は数えない (フォルダを動かしたら、書き直すことになる)。
    """
    _, config = next(read_records(Path(adapter, "adapter_config.json"), ""))
    config.pop("base_model_name_or_path", None)
    settings = json.dumps(config, sort_keys=True)
    return sha256((settings + sampled_digest([Path(adapter, WEIGHTS)])).encode()).hexdigest()[:16]


def sampled_digest(paths):
    """ファイルの名前と大きさと、とびとびの中身の印。"""
    mark = sha256()
    for path in sorted(paths):
        size = path.stat().st_size
        mark.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as f:
            for i in range(SAMPLES):
                f.seek(size * i // SAMPLES)
                mark.update(f.read(SAMPLE_BYTES))
    return mark.hexdigest()[:16]


def same_model(base, trained_on, adapter):
    """アダプタを学習した基のモデル trained_on が base か。

    フォルダなら、名前ではなく実体で比べる。
    """
    if base == trained_on:
        return True
    # 相対パスは、学習したとき (output_dir のある所) から見たもの
    places = [Path(trained_on), Path(adapter).resolve().parent / trained_on]
    return Path(base).is_dir() and any(p.is_dir() and p.samefile(base) for p in places)


def find_model(config, config_path, model=None, use_base=False):
    """(基のモデル, アダプタのフォルダまたは None) を返す。

    model は --model の値で、アダプタのフォルダでも、モデルのフォルダや名前でもよい。
    """
    base = config["base_model"]
    if model and use_base:
        fail("--base と --model は、どちらか 1 つにしてください (学習前のモデルなら --base だけ)。")
    if use_base:
        return base, None

    # アダプタのフォルダでなければ、モデルのフォルダか、Hub の名前
    if model and not Path(model, "adapter_config.json").exists():
        if Path(model).is_file() or (model.startswith((".", "/")) and not Path(model).is_dir()):
            fail(f"--model {model} というフォルダはありません。場所を確かめてください。")
        return model, None

    # 学習の終わったアダプタか
    adapter = model or config["output_dir"]
    launch = f"accelerate launch -m axolotl.cli.train {shlex.quote(str(config_path))}"
    record = read_record(adapter)
    if record and not record.finished:
        fail(
            f"{adapter} の学習は途中です ({record.steps_done}/{record.steps_planned} ステップ)。"
            f"始めたときと同じコマンドで続けてください: {launch} "
            f"(途中のものに解かせるなら --model {adapter}/checkpoint-...)。"
        )
    todo = f"先に手順3の学習をしてください: {launch} (学習前のモデルなら --base)。"
    for name in ("adapter_config.json", WEIGHTS):
        if not Path(adapter, name).exists():
            fail(f"{Path(adapter, name)} がありません。{todo}")

    # YAML のモデルのアダプタか
    _, saved = next(read_records(Path(adapter, "adapter_config.json"), todo))
    trained_on = saved.get("base_model_name_or_path") or ""
    if not same_model(base, trained_on, adapter):
        fail(
            f"{adapter} は {trained_on} 用のアダプタで、{config_path} の base_model は {base} "
            "です。そろえるか、学習し直してください。"
        )
    return base, adapter


def as_trained(config, adapter):
    """config のうち、答えに関わる設定を、アダプタを学習したときのものにする。

    記録がなければ、そのまま。
    """
    record = read_record(adapter) if adapter else None
    if record is None:
        return config
    if record.settings.get("trust_remote_code") and not config.get("trust_remote_code"):
        fail(
            f"{adapter} は、モデルに付いてくるプログラムを使って (trust_remote_code: true で) "
            "学習しました。YAML も同じにするか、学習し直してください。"
        )
    return config | {key: record.settings.get(key) for key in FOLLOWED}


def check_files(base, adapter):
    """基のモデルとアダプタのファイルが、学習したときのものでなければ終わる。

    記録がなければ、確かめない。
    """
    record = read_record(adapter)
    if record and record.adapter_files not in (None, adapter_digest(adapter)):
        fail(
            f"{adapter} のアダプタが、{RECORD} に残る学習の書いたものと違います。"
            "元に戻すか、別の output_dir で手順3をやり直してください。"
        )
    if record and record.base_files not in (None, base_digest(base)):
        fail(
            f"{base} のファイルが、{adapter} を学習したときと違います。"
            "元のモデルに戻すか、別の output_dir で手順3をやり直してください。"
        )


def check_adapter(adapter, quiz=()):
    """アダプタを学習した書式が、今の書式でなければ終わる。気を付けることの文のリストを返す。

    quiz は、これから解く問題のファイル。
    """
    record = read_record(adapter)
    if record is None:
        missing = Path(adapter, RECORD)
        return [f"{missing} がないので、この書式で最後まで学習したのか確かめられません。"]

    # 学習に使った 1 件が、今の書式で読めるか
    try:
        read_question(record.example)
    except (ValueError, KeyError, TypeError):
        fail(
            f"{adapter} は別の書式で学習したアダプタです。書式を元に戻すか、"
            "手順1からやり直してください。"
        )

    # 学習用ファイルが変わっていないか (もうなければ、比べない)
    notes = []
    for path, before in record.train_files.items():
        if file_digest(path) not in (before, None):
            notes.append(
                f"{adapter} は、今の {path} ではなく、書き換える前のもので学習したアダプタです。"
            )
    # 学習した問題に問うのではないか
    for path in quiz:
        if file_digest(path) in record.train_files.values():
            notes.append(f"{path} は {adapter} の学習に使った問題です。正解率は実力を表しません。")
    return notes
