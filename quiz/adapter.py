"""手順3と手順4が同じ YAML に従うために: 設定を読み、基のモデルとアダプタを決め、アダプタの記録 (training.json) と照らし合わせる。"""

from hashlib import sha256
from pathlib import Path

import yaml

from quiz.files import fail, read_records, read_text
from quiz.prompt import read_question

WEIGHTS = "adapter_model.safetensors"
REPORT = "training.json"  # アダプタの隣に残す、学習の記録 (quiz/training/record.py が書く)


def read_config(path):
    """Axolotl の YAML を読んで dict を返す。"""
    try:
        config = yaml.safe_load(read_text(path, "YAML の場所を確かめてください。"))
    except yaml.YAMLError as e:
        mark = getattr(e, "problem_mark", None)
        fail(f"{path}:{mark.line + 1 if mark else 1}: YAML として読めません。字下げと : の後の空白を確かめてください。")
    if not isinstance(config, dict) or not all(isinstance(config.get(key), str) for key in ("base_model", "output_dir")):
        fail(f"{path}:1: base_model か output_dir がありません。元の qlora-opencalm.yml と比べてください。")
    return config


def same_model(base, trained_on, adapter):
    """アダプタを学習した基のモデル trained_on が base か。フォルダなら、名前ではなく実体で比べる。"""
    # 相対パスは、学習したとき (output_dir のある所) から見たもの。
    places = [Path(trained_on), Path(adapter).resolve().parent / trained_on]
    return base == trained_on or Path(base).is_dir() and any(p.is_dir() and p.samefile(base) for p in places)


def read_report(adapter):
    """アダプタのフォルダにある学習の記録 (dict)。なければ None。"""
    path, todo = Path(adapter, REPORT), "別の output_dir で、手順3をやり直してください。"
    if not path.exists():
        return None
    _, report = next(read_records(path, todo), (1, {}))
    kinds = {"base_model": str, "train_files": dict, "settings": dict, "finished": bool, "steps_done": int, "steps_planned": int}
    if not all(isinstance(report.get(key), kind) for key, kind in kinds.items()):
        fail(f"{path}: 学習の記録が壊れています。{todo}")
    return report


def digest(path):
    """ファイルの中身の印。なければ None。"""
    return sha256(Path(path).read_bytes()).hexdigest() if Path(path).is_file() else None


def find_model(config, config_path, model=None, use_base=False):
    """(基のモデル, アダプタのフォルダまたは None) を返す。model はアダプタのフォルダでも、モデルのフォルダや名前でもよい。"""
    base = config["base_model"]
    if model and (Path(model).is_file() or model.startswith((".", "/")) and not Path(model).is_dir()):
        fail(f"--model {model} というフォルダはありません。場所を確かめてください。")
    if model and use_base:
        fail("--base と --model は、どちらか 1 つにしてください (学習前のモデルなら --base だけ)。")
    if model and not (Path(model) / "adapter_config.json").exists():
        return model, None
    if use_base:
        return base, None
    adapter, launch = model or config["output_dir"], f"accelerate launch -m axolotl.cli.train {config_path}"
    report = read_report(adapter)
    if report and not report["finished"]:
        more = f" --output_dir {model} ..." if model else ""
        fail(f"{adapter} の学習は途中です ({report['steps_done']}/{report['steps_planned']} ステップ)。"
             f"始めたときと同じコマンドで続けてください: {launch}{more} "
             f"(途中のものに解かせるなら --model {adapter}/checkpoint-...)。")
    todo = f"先に手順3の学習をしてください: {launch} (学習前のモデルなら --base)。"
    for name in ("adapter_config.json", WEIGHTS):
        if not Path(adapter, name).exists():
            fail(f"{Path(adapter, name)} がありません。{todo}")
    trained_on = next(read_records(Path(adapter, "adapter_config.json"), todo))[1].get("base_model_name_or_path") or ""
    if not same_model(base, trained_on, adapter):
        fail(f"{adapter} は {trained_on} 用のアダプタで、{config_path} の base_model は {base} です。そろえるか、学習し直してください。")
    return base, adapter


def as_trained(config, adapter):
    """config のうち、答えに関わる設定を、アダプタを学習したときのものにする。手順3では、コマンドラインでも変えられる。"""
    report = adapter and read_report(adapter)
    return config | {key: report["settings"].get(key) for key in ("load_in_4bit", "tokenizer_type")} if report else config


def check_adapter(adapter, quiz=()):
    """アダプタを学習した書式が、今の quiz/prompt.py の書式でなければ終わる。気を付けることの文のリストを返す。

    quiz は、これから解く問題のファイル。
    """
    report = read_report(adapter)
    if not report:
        return [f"{Path(adapter, REPORT)} がないので、{adapter} をこの書式で最後まで学習したのか確かめられません。"]
    try:
        read_question(report["example"])
    except (ValueError, KeyError, TypeError):
        fail(f"{adapter} は別の書式で学習したアダプタです。書式を元に戻すか、手順1からやり直してください。")
    changed = [path for path, before in report["train_files"].items() if digest(path) not in (before, None)]
    trained = [str(path) for path in quiz if digest(path) in report["train_files"].values()]
    return [*(f"{adapter} は、今の {path} ではなく、書き換える前のもので学習したアダプタです。" for path in changed),
            *(f"{path} は {adapter} の学習に使った問題です。正解率は実力を表しません。" for path in trained)]
