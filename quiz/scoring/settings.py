"""学習の設定の違い: 表の行どうしで違う設定と、その値。"""

from itertools import chain

# 種と、学習の結果を変えない設定
SEED_AND_HARMLESS = {
    "seed",
    "output_dir",
    "dataset_prepared_path",
    "gradient_checkpointing",
    "processes",
    "world_size",
    "local_rank",
    "device",
    "device_map",
    "ddp",
}


def training_settings(row):
    """行の学習の設定 {名前: 値}。学習の記録がなければ空。"""
    training = row.result.training if row.result else {}
    if not training.get("train_files"):
        return {}
    # 学習用のファイルは、名前ではなく中身で見分ける
    digests = sorted(training["train_files"].values())
    settings = {
        "model": row.result.model,
        "questions": training["questions"],
        **training["settings"],
        "train_files": " ".join(digest[:7] for digest in digests),
    }
    skipped = SEED_AND_HARMLESS | {"datasets"}
    return {name: value for name, value in settings.items() if name not in skipped}


def varied(rows):
    """学習の設定のうち、行によって違うもの。{名前: {行: 値}}。学習の記録のない行は入らない。"""
    known = {row: training_settings(row) for row in rows}
    known = {row: settings for row, settings in known.items() if settings}

    names = dict.fromkeys(chain(*known.values()))
    columns = {}
    for name in names:
        values = {row: settings.get(name) for row, settings in known.items()}
        if len(set(map(repr, values.values()))) > 1:
            columns[name] = values
    # 問題の数が違えば、学習用のファイルも違うに決まっている
    if "questions" in columns:
        columns.pop("train_files", None)
    return columns


def axis(rows):
    """違う設定が数値の 1 つだけで、値が 3 つ以上あれば、(名前, {行: 値})。なければ None。"""
    columns = varied(rows)
    if len(columns) != 1:
        return None
    name, values = columns.popitem()
    numbers = set(values.values())
    if len(numbers) < 3 or not all(isinstance(number, int | float) for number in numbers):
        return None
    return name, values
