"""表の問題が、書き間違いや、表計算に壊されたものでないか。

そういう問題かもしれないので、数問なら読んで知らせる。
"""

import re

from quiz.files import fail
from quiz.questions.characters import loosely, normalize
from quiz.questions.source_row import FORMAT

ADVICE = ("1 行目の見出しを 問題、正解、誤答1、誤答2、... にし、正解は番号ではなく文字で"
          f"書いてください。{FORMAT}")
# 正解の文字の代わりに書かれた、番号か記号らしいもの (loosely を通した後)
MARK = r"\d|[a-eア-オ]"
# 1 つのセルに並べた誤答の、間の記号
BETWEEN = "[、,;/]"

# 表計算に壊されたらしいセル → 同じ問題にあれば、確かに壊されたと分かるもの ((?m) は行ごと)
DAMAGES = {
    # 直した日付 (3-1 → 3月1日 や 2024/3/1 や 1-Mar) → 直されずに残るもの (2-0、13-1)
    r"(?m)^(\d{4}[/-]\d{1,2}[/-]\d{1,2}|\d{1,2}/\d{1,2}/\d{2,4}|\d{1,2}月\d{1,2}日"
    r"|\d{1,2}-[A-Z][a-z]{2}|[A-Z][a-z]{2}-\d{2})$": r"(?m)^\d{1,3}[/-]\d{1,3}$",
    # エラー (LibreOffice なら Err:502) や幅の足りないセル → そうでないもの
    r"(?m)^(#[A-Z/0]+[!?]|#N/A|#{4,}|Err:\d+)$": "(?m)^(?!#|Err:)",
}


def looks_damaged(row):
    """日付や表計算のエラーの形のセルがあるか。表計算に壊されたと分かれば、終わる。"""
    candidates = "\n".join(row.candidates)
    for damage, healthy in DAMAGES.items():
        found = re.search(damage, f"{row.question}\n{candidates}")
        if found and re.search(healthy, candidates):
            fail(f"{row.where}: 「{found[0]}」は、表計算が直した日付か、表計算のエラーです。"
                 "元の表を直し、セルの書式を文字列にしてください。")
        if found:
            return True
    return False


def has_equal_choices(row):
    """見た目の同じ候補があるか。"""
    return len(set(map(normalize, row.candidates))) < len(row.candidates)


def answers_by_mark(row):
    """正解が、文字ではなく番号や記号らしいか: 誤答に、数だけのものも 1 文字のものもない。"""
    answer, *wrong = map(loosely, row.candidates)
    short = re.compile(r".|\d+")
    return bool(re.fullmatch(MARK, answer)) and not any(map(short.fullmatch, wrong))


def has_wrong_answers_in_one(row):
    """ただ 1 つの誤答が、いくつもの誤答を並べたものらしいか。"""
    answer, *wrong = row.candidates
    return len(wrong) == 1 and bool(
        re.search(BETWEEN, normalize(wrong[0])) and not re.search(BETWEEN, normalize(answer)))


# 書き間違いかもしれないもの: 見分け方、知らせること、ほとんどの問題がそうなら間違いか。
# そういう問題かもしれないので、数問なら読む
DAMAGED = (looks_damaged, "日付や表計算のエラーの形の選択肢があります。"
           "表計算に直されたものでないか確かめてください", False)
ODDITIES = (
    DAMAGED,
    (has_equal_choices, "同じ選択肢があるので、1 つにします", False),
    (answers_by_mark, "正解が文字ではなく、番号や記号のようです", True),
    (has_wrong_answers_in_one, "1 つのセルに、いくつもの誤答があるようです", True),
)


def notice(rows, oddities):
    """書き間違いかもしれない問題の数を知らせる。ほとんどの問題がそうなら、終わる。"""
    for odd, what, is_mistake in oddities:
        places = [row.where for row in rows if odd(row)]
        if is_mistake and 2 * len(places) > len(rows):
            fail(f"{places[0]}: {len(rows)} 問のうち {len(places)} 問は、{what}。{ADVICE}")
        if places:
            print(f"注意: {len(places)} 問 (初めは {places[0]}) は、{what}。")
