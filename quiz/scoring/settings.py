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
    settings = {"questions": training["questions"], **training["settings"]}
    # 学習用のファイルは、名前ではなく中身で見分ける
    digests = sorted(map(str, training["train_files"].values()))
    settings["train_files"] = " ".join(digest[:7] for digest in digests)
    for name in ("datasets", *SEED_AND_HARMLESS):
        settings.pop(name, None)
    return settings


def varied(rows):
    """モデル、例の数、計算の条件と、学習の設定のうち、行によって違うもの。{名前: {行: 値}}。

    学習の記録のない行は、学習の設定には入らない。
    """
    columns = {}
    for name in ("model", "shots", "load_in_4bit", "dtype"):
        columns[name] = {row: row.result.summary.get(name) or "-" for row in rows if row.result}
    known = {row: training_settings(row) for row in rows}
    for name in chain(*known.values()):
        columns[name] = {row: known[row].get(name) for row in rows if known[row]}

    different = {}
    for name, values in columns.items():
        if len(set(map(str, values.values()))) > 1:
            different[name] = values
    # 問題の数が違えば、学習用のファイルも違うに決まっている
    if "questions" in different:
        different.pop("train_files", None)
    return different


def axis(rows):
    """学習した行で違うものが、数の設定 1 つだけで、値が 3 つ以上あれば、(名前, {行: 値})。

    なければ None。
    """
    columns = varied([row for row in rows if training_settings(row)])
    if len(columns) != 1:
        return None
    name, values = columns.popitem()
    numbers = [value for value in values.values() if isinstance(value, int | float)]
    # 問題の違う行の点数は、並べられない
    questions = {row.questions for row in values}
    if len(numbers) < len(values) or len(set(numbers)) < 3 or len(questions) > 1:
        return None
    return name, values
