"""選択肢の順と、選択肢だけの点: どの選択肢もどの番号にも来るように並べ替えて解かせ、位置で選んでいないかを見る。

問題文を隠して解かせれば、選択肢の作りがどれだけ答えを教えているかが分かる。
"""

from statistics import fmean


def groups(records):
    """clean の記録を、同じ問題の N 通りずつに分ける。並べ替えていない結果なら、空のリスト。"""
    found = []
    for r in records:
        if r["rotation"] is None:
            return []
        if r["rotation"] == 0:
            found.append([])
        if not found or r["rotation"] != len(found[-1]):
            raise ValueError("選択肢の順を変えた記録が欠けています")
        found[-1].append(r)
    if any(len(group) != group[0]["n_choices"] for group in found):
        raise ValueError("選択肢の順を変えた記録が欠けています")
    return found


def chosen(r):
    """答えた選択肢の、並べ替える前の番号。読み取れないか、範囲の外なら None。"""
    return (r["answered"] + r["rotation"]) % r["n_choices"] if 0 <= r["answered"] < r["n_choices"] else None


def collapse(group):
    """N 通りの記録を 1 つにする。答えは、番号の確率を選択肢ごとに平均して最大のもの。1 問に答えが 1 つなので、検定に使える。"""
    first, n = group[0], group[0]["n_choices"]
    probs = [fmean(r["probs"][(k - r["rotation"]) % n] for r in group) for k in range(n)]
    likely = probs.index(max(probs))
    # 生成の答えとは比べない: 同じ問題の印を変え、順を変えた結果どうしだけが比べられるようにする。
    return first | {"key": f"rotations {first['key']}", "probs": probs, "likely": likely, "answered": likely, "said": likely,
                    "hit": likely == first["label"], "output": first["lines"][likely], "seconds": sum(r["seconds"] or 0 for r in group)}


def summary(found):
    """accuracy: どの位置にも正解が来たときの平均の正解率  always: どの並びでも正解の割合  consistent: どの並びでも同じ選択肢を選んだ割合"""
    return {"accuracy": fmean(fmean(r["hit"] for r in group) for group in found),
            "always": fmean(all(r["hit"] for r in group) for group in found),
            "consistent": fmean(len({chosen(r) for r in group}) == 1 and chosen(group[0]) is not None for group in found)}
