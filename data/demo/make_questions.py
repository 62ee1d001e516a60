"""デモの問題を作る: facts/*.tsv と *.toml → train_questions.json, dev1_questions.json, dev2_questions.json。

    python data/demo/make_questions.py

facts/分野.tsv の 1 行が 1 つの事実 (relation, key, answer, hint をタブで区切る)。facts/分野.toml に関係ごとの言い回しがある:
    capital	フランス	パリ	ワインの産地として名高い
    questions = ["{hint}{key}の首都はどこでしょう?", ...]   statements = ["{key}の首都は{answer}である。", ...]
書くのはクイズ王 (JAQKET v1) と同じ形の JSON Lines:
    {"qid": "capital-001", "genre": "学問", "question": "...", "answer_entity": "パリ", "answer_candidates": [20 個]}
事実を足すときは、表の関係ごとの末尾に足す。そうすれば、ほかの問題の問題文と分け方は変わらない (誤答の候補は変わることがある)。
"""

import argparse
import json
import random
import re
import string
import sys
import tomllib
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parents[1]))  # quiz/ の隣
from quiz.files import fail, read_text, write  # noqa: E402

HEADING = ["relation", "key", "answer", "hint"]
MEND = "直してから、もう一度実行してください。"
NUM_CANDIDATES = 20
SPLITS = {2: "dev1", 5: "dev2"}  # 関係の中の行番号を 7 で割った余り。残りが train


def read_wordings(path):
    """toml を読み、{"genre": 分野, 関係: {"noun", "questions", "statements", "distractors"}} を返す。"""
    text = read_text(path, "表 (*.tsv) と同じ名前の .toml に、分野と言い回しを UTF-8 で書いてください。")
    try:
        wordings = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        line = re.search(r"line (\d+)", str(e))
        fail(f"{path}:{line[1] if line else text.count(chr(10)) + 1}: TOML として読めません (引用符、かっこ、カンマを見てください)。{MEND}")
    if not isinstance(wordings.get("genre"), str):
        fail(f'{path}:1: genre = "分野" がありません。{MEND}')
    for relation, wording in wordings.items():
        if relation != "genre":
            check_wording(path, text, relation, wording)
    return wordings


def check_wording(path, text, relation, wording):
    """関係の言い回しがそろっているか。questions は {key} と {hint}、statements は {key}、{answer}、{hint} を使う。"""
    if not isinstance(wording, dict) or not isinstance(wording.get("noun"), str) or not isinstance(wording.get("distractors"), list):
        fail(f'{path}: [{relation}] に noun = "…" か distractors = [] がありません。{MEND}')
    for name, needed in (("questions", {"key"}), ("statements", {"key", "answer"})):
        templates = list(map(str, wording[name])) if isinstance(wording.get(name), list) else []
        if {"{hint}" in t for t in templates} != {True, False}:
            fail(f"{path}: [{relation}] の {name} に、{{hint}} を使う言い回しと使わない言い回しを、両方書いてください。")
        for template in templates:
            try:
                fields = {field for _, field, _, _ in string.Formatter().parse(template)} - {None}
            except ValueError:
                fields = set()
            if not needed <= fields <= needed | {"hint"}:
                line = text.count("\n", 0, text.find(template)) + 1
                fail(f"{path}:{line}: {name} の言い回しには {' と '.join(f'{{{n}}}' for n in sorted(needed))} が要り、"
                     f"ほかに使えるのは {{hint}} だけです: {template}")


def read_facts(folder):
    """表を読み、事実の dict (qid, genre, relation, key, answer, hint, split, wording, candidates) のリストを返す。"""
    facts, seen, answers = [], {}, defaultdict(dict)
    tables = sorted(Path(folder).glob("*.tsv"))
    if not tables:
        fail(f"{folder} に表 (*.tsv) がありません。--facts に、表のフォルダを指定してください。")
    for table in tables:
        wordings, counts = read_wordings(table.with_suffix(".toml")), defaultdict(int)
        heading, *rows = read_text(table, "UTF-8、タブ区切りで保存してください。").splitlines() or [""]
        if heading.split("\t") != HEADING:
            fail(f"{table}:1: 見出しは {'、'.join(HEADING)} (タブ区切り) です。{MEND}")
        for line, row in enumerate(rows, 2):
            where, cells = f"{table}:{line}", row.split("\t")
            if len(cells) != 4:
                fail(f"{where}: 列が {len(cells)} つです。{'、'.join(HEADING)} の 4 つを、タブで区切ってください。")
            relation, key, answer, hint = cells
            if not isinstance(wordings.get(relation), dict):
                fail(f"{where}: 関係 {relation} が {table.stem}.toml にありません。名前を直すか、toml に言い回しを足してください。")
            if not key or not answer or any(c != c.strip() or set(c) & set('{}"') for c in cells) or hint.endswith("。"):
                fail(f"{where}: 空の欄、前後の空白、かっこ {{}}、引用符、ヒントの終わりの「。」のどれかがあります。{MEND}")
            if key in answer or answer in key + "\t" + hint:
                fail(f"{where}: 答えが、鍵かヒントに入っています ({answer})。{MEND}")
            for fact in ((relation, key), frozenset((key, answer))):
                if seen.setdefault(fact, where) != where:
                    fail(f"{where}: 同じ鍵か、同じ事実 (逆向きも) が {seen[fact]} にあります。どちらかを消してください。")
            answers[relation].update(dict.fromkeys([answer, *wordings[relation]["distractors"]]))
            facts.append({"qid": f"{relation}-{counts[relation] + 1:03d}", "genre": wordings["genre"], "relation": relation,
                          "key": key, "answer": answer, "hint": hint, "wording": wordings[relation],
                          "split": SPLITS.get(counts[relation] % 7, "train"), "candidates": answers[relation]})
            counts[relation] += 1
    for relation, candidates in answers.items():
        if len(candidates) < NUM_CANDIDATES:
            fail(f"関係 {relation}: 違う答えが {len(candidates)} 個です。{NUM_CANDIDATES} 個まで、事実か distractors を足してください。")
    return facts


def usable(templates, fact):
    """hint のある事実では hint を使う言い回しだけを、ない事実では使わない言い回しだけを返す。"""
    return [t for t in templates if ("{hint}" in t) == bool(fact["hint"])]


def question_row(fact):
    """事実を 1 問にする。言い回しと誤答は qid を種にして選ぶ。誤答は、同じ関係の答え (candidates) から。"""
    rng = random.Random(fact["qid"])
    question = rng.choice(usable(fact["wording"]["questions"], fact)).format(key=fact["key"], hint=fact["hint"])
    wrong = rng.sample([c for c in fact["candidates"] if c != fact["answer"]], NUM_CANDIDATES - 1)
    chosen = [fact["answer"], *wrong]
    if fact["split"] != "train":  # クイズ王でも、学習用は正解が先頭、評価用は順不同
        rng.shuffle(chosen)
    return {"qid": fact["qid"], "genre": fact["genre"], "question": question, "answer_entity": fact["answer"],
            "answer_candidates": chosen}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--facts", default=HERE / "facts", help="表のフォルダ (既定: facts)")
    parser.add_argument("-o", "--output", default=HERE, type=Path, help="書き出すフォルダ (既定: data/demo)")
    args = parser.parse_args()
    splits = {"train": [], "dev1": [], "dev2": []}
    for fact in read_facts(args.facts):
        splits[fact["split"]].append(question_row(fact))
    for split, rows in splits.items():
        path = args.output / f"{split}_questions.json"
        write(path, (json.dumps(r, ensure_ascii=False) + "\n" for r in rows))
        genres = sorted({r["genre"] for r in rows})
        print(f"{path}: {len(rows)} 問 (" + "  ".join(f"{g} {sum(r['genre'] == g for r in rows)}" for g in genres) + ")")
    print("次は: bash tests/run.sh -k test_questions (書き方の検査)。事実を足したら: python data/demo/make_model.py --threads 1 (35 分)")


if __name__ == "__main__":
    main()
