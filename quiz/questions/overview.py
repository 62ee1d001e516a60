"""学習と評価の前に知っておきたいことを言う: 数、正解の位置、長さ、分野。"""

from collections import Counter

from quiz.files import fail
from quiz.questions.characters import normalize


def overview(paths, drawn):
    """paths から引いた drawn (Drawn) について知っておきたいことの、行のリスト。

    書ける問題がないか、数が合わなければ、そう言って終わる。
    """
    questions = drawn.questions
    n_skipped = sum(map(len, drawn.skipped.values()))
    counts = (f"{' '.join(paths)}: 読んだ {drawn.n_read} 問 / 書く {len(questions)} 問 / "
              f"飛ばした {n_skipped} 問")
    for why, places in drawn.skipped.items():
        counts += f", {why} {len(places)} (初めは {places[0]})"
    if not questions:
        fail(f"使える問題が 1 問もありません ({counts})。"
             "--num-choices と元のファイルを確かめてください。")
    # 読んだ問題は、書くか、飛ばすか、くじに外れるかのどれか
    if drawn.n_read != len(questions) + n_skipped + drawn.n_left:
        fail(f"数が合いません ({counts})。quiz/questions/choices.py の間違いです。")

    lines = [counts]
    # 分野の順に並んだファイルから引いても、どの分野もあるか
    if drawn.n_left:
        genres = Counter(q.extra.get("genre", "なし") for q in questions)
        lines.append(f"引かなかった {drawn.n_left} 問 (--max-questions)。"
                     f"書く問題の分野: {listed(genres)}")
    # 当てずっぽうで当たる問題の数
    guessed = sum(1 / len(q.choices) for q in questions)
    lines += [*about_labels(questions, guessed), *about_hints(questions, guessed)]
    if drawn.n_repeated:
        lines.append(f"注意: {drawn.n_repeated} 問は、qid (なければ問題文) が前の問題と同じです。"
                     "選択肢は、問題文と候補も使って引きました。")
    return lines


def listed(counts):
    """Counter を「0: 12  1: 15」のように並べる。"""
    return "  ".join(f"{value}: {n}" for value, n in sorted(counts.items()))


def about_labels(questions, guessed):
    """正解の位置と、選択肢の数。位置だけで当てられるなら、注意する。"""
    labels = Counter(q.label for q in questions)
    yield f"正解の位置: {listed(labels)}"
    sizes = Counter(f"{len(q.choices)} 択" for q in questions)
    if len(sizes) > 1:
        yield f"選択肢の数: {listed(sizes)}"

    # どの位置にも同じだけあるとして、いちばん多い位置を調べる。
    # くじで決まる位置なら、平均から標準偏差の 4 倍も外れることは 1 万回に 1 回もない
    deviation = (guessed * (1 - guessed / len(questions))) ** 0.5
    label, most = labels.most_common(1)[0]
    if most > guessed + 4 * deviation:
        yield (f"注意: {most} 問は、正解が {label} 番です (偏りがなければ {guessed:.0f} 問ほど)。"
               "問題を知らなくても、位置だけで当てられます。")
    # 1 から数えた正解を 0 から (か、その逆に) 読めば、端の選択肢が正解の問題がない。
    # どの位置にも 10 問ずつあるはずの数の問題で、くじでそうなることは 1 万回に 1 回ほど
    from_last = Counter(len(q.choices) - q.label for q in questions)
    if guessed > 10 and not (labels[0] and from_last[1]):
        yield ("注意: 最初か最後の選択肢が正解の問題が、1 問もありません。正解の番号を 0 と 1 の"
               "どちらから数えるかが、元のファイルと合っているか確かめてください "
               "(docs/own_questions.md)。")


def about_hints(questions, guessed):
    """正解が、選択肢の長さや問題文から分かってしまうか。"""
    longest = 0
    inside = 0
    for q in questions:
        # 同じ長さのものがあれば、その中から当てずっぽうで選ぶ
        lengths = list(map(len, q.choices))
        if lengths[q.label] == max(lengths):
            longest += 1 / lengths.count(max(lengths))
        inside += normalize(q.choices[q.label]) in normalize(q.text)
    yield (f"正解が最も長い選択肢: {100 * longest / len(questions):.1f} % "
           f"(当てずっぽうは {100 * guessed / len(questions):.1f} %。"
           "ずっと高ければ、長さで当てられます)")
    if inside:
        yield f"注意: {inside} 問は、正解が問題文の中にあります。"
