"""デモの問題を作る: facts/*.tsv と *.toml → train_questions.json, dev1_questions.json, dev2_questions.json。

    python data/demo/make_questions.py

facts/分野.tsv の 1 行が 1 つの事実 (relation, key, answer, hint)。facts/分野.toml に関係ごとの言い回しがある:
    capital	フランス	パリ	ワインの産地として名高い
    questions = ["{key}の首都はどこでしょう?", ...]   statements = ["{key}の首都は{answer}である。", ...]
書くのはクイズ王 (JAQKET v1) と同じ形の JSON Lines:
    {"qid": "capital-001", "genre": "学問", "question": "...", "answer_entity": "パリ", "answer_candidates": [20 個]}
事実を足すときは、表の関係ごとの末尾に足す (そうすれば、ほかの問題は変わらない)。
"""

import argparse
import json
import random
import sys
import tomllib
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).parent
NUM_CANDIDATES = 20
SPLITS = {2: "dev1", 5: "dev2"}  # 関係の中の行番号を 7 で割った余り。残りが train


def read_facts(folder):
    """表を読み、事実の dict (qid, genre, relation, key, answer, hint, split, wording) のリストを返す。

    同じ事実が 2 度あるか (逆向きも)、候補が 20 個に足りなければ ValueError。
    """
    facts, seen, answers = [], {}, defaultdict(dict)
    for table in sorted(Path(folder).glob("*.tsv")):
        wordings = tomllib.loads(table.with_suffix(".toml").read_text(encoding="utf-8"))
        counts = defaultdict(int)
        for line, row in enumerate(table.read_text(encoding="utf-8").splitlines()[1:], 2):
            where, cells = f"{table}:{line}", row.split("\t")
            if len(cells) != 4 or cells[0] not in wordings:
                raise ValueError(f"{where}: 列が 4 つでないか、関係 {cells[0]} が {table.stem}.toml にありません")
            relation, key, answer, hint = cells
            if seen.setdefault(frozenset((key, answer)), where) != where:
                raise ValueError(f"{where}: 同じ事実が {seen[frozenset((key, answer))]} にあります")
            answers[relation].update(dict.fromkeys([answer, *wordings[relation]["distractors"]]))
            facts.append({"qid": f"{relation}-{counts[relation] + 1:03d}", "genre": wordings["genre"], "relation": relation,
                          "key": key, "answer": answer, "hint": hint, "wording": wordings[relation],
                          "split": SPLITS.get(counts[relation] % 7, "train")})
            counts[relation] += 1
    for relation, candidates in answers.items():
        if len(candidates) < NUM_CANDIDATES:
            raise ValueError(f"関係 {relation}: 候補が {len(candidates)} 個しかありません。distractors を足してください")
    return facts


def usable(templates, fact):
    """hint のある事実では hint を使う言い回しだけを、ない事実では使わない言い回しだけを返す。"""
    return [t for t in templates if ("{hint}" in t) == bool(fact["hint"])]


def question_row(fact, candidates):
    """事実を 1 問にする。言い回しと誤答は qid を種にして選ぶ。candidates は同じ関係の答えすべて。"""
    rng = random.Random(fact["qid"])
    question = rng.choice(usable(fact["wording"]["questions"], fact)).format(key=fact["key"], hint=fact["hint"])
    wrong = rng.sample([c for c in candidates if c != fact["answer"]], NUM_CANDIDATES - 1)
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
    try:
        facts = read_facts(args.facts)
    except (OSError, ValueError) as e:
        sys.exit(f"エラー: {e}")
    candidates = defaultdict(dict)
    for fact in facts:
        candidates[fact["relation"]].update(dict.fromkeys([fact["answer"], *fact["wording"]["distractors"]]))
    for split in ("train", "dev1", "dev2"):
        rows = [question_row(f, candidates[f["relation"]]) for f in facts if f["split"] == split]
        path = args.output / f"{split}_questions.json"
        path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
        genres = sorted({r["genre"] for r in rows})
        print(f"{path}: {len(rows)} 問 (" + "  ".join(f"{g} {sum(r['genre'] == g for r in rows)}" for g in genres) + ")")


if __name__ == "__main__":
    main()
