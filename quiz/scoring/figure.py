"""表と同じ数字の棒グラフと、学習曲線。"""

from io import BytesIO
from statistics import fmean

COLORS = {"モデル": "#6aa5dc", "学習前のモデル": "#f3bd7e", "公開の表": "#b8b8b8"}


def draw_curves(ax, curves):
    """学習曲線: 横が学習した量 (エポック)、縦が番号の確率での正解率。"""
    for name, points in curves.items():
        ax.plot(*zip(*points), marker="o", markersize=3, label=name)
    ax.set(title="学習曲線", ylim=(0, 1.02), xlabel="エポック (0 は学習前)", ylabel="番号の確率での正解率")
    ax.legend(fontsize=7, loc="lower right")


def plot(tables, curves, suffix):
    """{表の名前: 行のリスト} と {名前: 学習曲線} の図を、suffix (png、svg、pdf) の形式の bytes のリストで返す。

    棒は正解率 (0 から 1)、ひげは 95 % 区間、破線は当てずっぽう。学習前のモデルの棒は、同じモデルの学習後の棒のすぐ下に置く。
    """
    import matplotlib_fontja  # noqa: F401  読み込むだけで日本語のフォント (IPAex ゴシック) になる
    from matplotlib.figure import Figure

    every, panels = [row for rows in tables.values() for row in rows], []
    average = {row["name"]: fmean(r["score"] for r in every if r["name"] == row["name"]) for row in every}
    for rows in tables.values():
        befores = {id(row["base"]) for row in rows if row.get("base") and row["base"] is not row}
        # どの分野でも同じ順に並べる。
        panels.append(sorted((row for row in rows if id(row) not in befores), key=lambda row: -average[row["name"]]))
    sizes = [len(rows) for rows in panels] + ([4] if curves else [])
    columns = min(3, len(sizes))
    heights = [max(sizes[i:i + columns]) for i in range(0, len(sizes), columns)]  # 段ごとの、棒の組の数
    figure = Figure(figsize=(5 * columns + 1, 0.6 + sum(0.9 + 0.34 * h for h in heights)), layout="constrained")
    axes = figure.subplots(len(heights), columns, squeeze=False, height_ratios=[h + 0.6 for h in heights])
    handles, limit = {}, max(x for row in every for x in (row["interval"][1], row["chance"] or 0, row["likelihood"] or 0)) + 0.1
    for i, (ax, key, rows) in enumerate(zip(axes.flat, tables, panels)):
        for y, row in enumerate(rows):
            before = row["base"] if row.get("base") and row["base"] is not row else None
            for bar, at in ((row, y - 0.2), (before, y + 0.2)) if before else ((row, y),):
                label = "公開の表" if "digits" in bar else "学習前のモデル" if bar.get("base") is bar else "モデル"
                low, high = bar["interval"]
                whiskers = [[max(0, bar["score"] - low)], [max(0, high - bar["score"])]]  # 丸めの誤差から負にならないように
                handles[label] = ax.barh(at, bar["score"], 0.4 if before else 0.6, color=COLORS[label], capsize=1.5, xerr=whiskers)
                ax.text(0.995 * limit, at, f"{bar['score']:.2f}", va="center", ha="right", fontsize=7)
                if bar["likelihood"] is not None:  # 棒の長さが 0 でも、番号の確率では高いことがある
                    handles["番号の確率での正解率"] = ax.scatter(bar["likelihood"], at, marker="D", s=14, color="#333333", zorder=3)
            if row["chance"]:
                handles["当てずっぽう"] = ax.vlines(row["chance"], y - 0.5, y + 0.5, color="#c53030", linestyle="--", linewidth=1)
        # 同じ段では棒の太さをそろえ、上から詰める。
        ax.set(title=key, xlim=(0, limit), ylim=(heights[i // columns] - 0.4, -0.6), yticks=range(len(rows)))
        ax.set_yticklabels([row["name"] for row in rows], fontsize=8)
    if curves:
        draw_curves(axes.flat[len(panels)], curves)
    for ax in axes.flat[len(sizes):]:
        ax.remove()
    figure.supxlabel("正解率 (ひげは 95 % 区間)", fontsize=9)
    figure.legend(handles.values(), handles, loc="outside upper center", ncols=4, frameon=False)
    image = BytesIO()
    figure.savefig(image, format=suffix, dpi=130)
    return [image.getvalue()]
