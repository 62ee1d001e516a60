"""手順5: 結果のファイルから正解率を計算する。

    python analysis.py                                    # ここにある result*.json すべて
    python analysis.py result-base.json result.json

読むもの: run_quiz.py の result.json。2024 年版のチュートリアルの result.json (hit と out_str だけ) でもよい。
1 行目はチュートリアルと同じ「ファイル名 : 正解率」。2 行目はその内訳:
    result.json                                                  : 0.35
        100 問  読み取れない 2.0 %  番号の確率 0.36  当てずっぽう 0.20
「番号の確率」は確率が最大の番号を答えとした正解率。生成の正解率より高ければ、知ってはいるが書式を守れていない。
"""

import argparse
import json
import re
import sys
from pathlib import Path


def fail(message):
    """エラーを 1 行で stderr に出し、終了コード 1 で終わる。"""
    sys.exit(f"エラー: {' '.join(str(message).split())}")


def read_result(path):
    """result.json を読み、(問題ごとの記録のリスト, 最後の要素) を返す。"""
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as e:
        fail(f"{path} を読めません ({e})。先に手順4を実行してください: python run_quiz.py")
    except json.JSONDecodeError as e:
        fail(f"{path}:{e.lineno}: JSON として読めません ({e.msg})。手順4をやり直してください: python run_quiz.py")
    if not isinstance(data, list) or not all(isinstance(r, dict) for r in data):
        fail(f"{path}:1: result.json の形ではありません。手順4をやり直してください: python run_quiz.py")
    summary = data.pop() if data and "elapsed_time" in data[-1] else {}
    if not data or not all("hit" in r for r in data):
        fail(f"{path}:1: hit のある記録がありません。手順4をやり直してください: python run_quiz.py")
    return data, summary


def num_choices(record):
    """選択肢の数を返す。分からなければ None。"""
    if "choice_probs" in record:
        return len(record["choice_probs"])
    text = record.get("input") or record.get("prompt") or record.get("instruction") or ""
    return len(re.findall(r"^\d+: ", text, re.MULTILINE)) or None


def likely_hit(record):
    """確率が最大の番号が正解なら True。"""
    probs = record["choice_probs"]
    return probs.index(max(probs)) == int(re.match(r"\d+", record["correct_answer"]).group())


def scores(records):
    """正解率などの dict を返す。値はどれも 0 から 1。古いファイルで計算できないものは None。

    score: 生成した回答の正解率  unparsed: 番号を読み取れない回答の割合
    likelihood: 番号の確率での正解率  chance: 当てずっぽうの正解率 (1/選択肢の数 の平均)
    """
    def mean(values):
        return sum(values) / len(records) if None not in values else None

    return {"score": mean([bool(r["hit"]) for r in records]),
            "unparsed": mean([not re.search(r"\d", str(r["out_str"])) if "out_str" in r else None for r in records]),
            "likelihood": mean([likely_hit(r) if "choice_probs" in r else None for r in records]),
            "chance": mean([1 / n if (n := num_choices(r)) else None for r in records])}


def show(value, pattern="{:.2f}"):
    return "-" if value is None else pattern.format(value)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="*", help="結果のファイル (既定: ここにある result*.json すべて)")
    parser.add_argument("--genre", action="store_true", help="分野 (genre) ごとの正解率も出す")
    args = parser.parse_args()
    paths = args.results or sorted(map(str, Path().glob("result*.json")))
    if not paths:
        fail("result*.json がありません。先に手順4を実行してください: python run_quiz.py")
    for path in paths:
        records, _ = read_result(path)
        s = scores(records)
        print(f"{path:<60} : {round(s['score'], 4)}")
        print(f"    {len(records)} 問  読み取れない {show(s['unparsed'], '{:.1%}').replace('%', ' %')}  "
              f"番号の確率 {show(s['likelihood'])}  当てずっぽう {show(s['chance'])}")
        for genre in sorted({r["genre"] for r in records if r.get("genre")}) if args.genre else ():
            part = [r for r in records if r.get("genre") == genre]
            g = scores(part)
            print(f"    {genre}: {g['score']:.2f} ({len(part)} 問)  番号の確率 {show(g['likelihood'])}  当てずっぽう {show(g['chance'])}")


if __name__ == "__main__":
    main()
