"""同じ文字列とみなすもの、違う文字列とみなすもの。"""

import pytest

from quiz.questions.characters import loosely, normalize, one_line

SAME = [
    ("ＡＢＣ？", "ABC?"),
    ("１２", "12"),
    ("ｶﾞｷﾞ", "ガギ"),
    ("か\u3099", "が"),
    ("カﾞ", "ガ"),
    ("あ\u3000い", "あ い"),
    ("￥", "¥"),
    ("e\u0301", "é"),
]
# 全角と半角、合成のほかは、どれも読む人には違う文字列
DIFFERENT = [
    ("2⁸", "28"),
    ("①", "1"),
    ("m²", "m2"),
    ("else if", "elseif"),
    ("kg", "KG"),
    ("H₂O", "HO₂"),
    ("Ⅰ", "I"),
    ("㎏", "kg"),
    ("㈱", "(株)"),
    ("𝑥", "x"),
    ("ー", "-"),
]


@pytest.mark.parametrize("left, right", SAME)
def test_same(left, right):
    assert normalize(left) == normalize(right)


@pytest.mark.parametrize("left, right", DIFFERENT)
def test_different(left, right):
    assert normalize(left) != normalize(right)


def test_loosely():
    """ほぼ同じ: 上付き文字、空白、大文字と小文字の違いも問わない。"""
    assert loosely("２³ = 8") == loosely("23=8") and loosely("Wrong 2") == loosely("ＷＲＯＮＧ２")
    assert loosely("東京") != loosely("京都")


def test_one_line():
    assert one_line(" あ\r\nい\tう\u2028え　お ") == "あ い う え　お"
    assert one_line("m²  ①") == "m²  ①"
    # 目に見えない制御文字も
    assert one_line("\x00ベル\x07を鳴らす\x7f") == "ベル を鳴らす"


@pytest.mark.parametrize(
    "hidden", ["富士山\u200b", "富\u200b士山", "\ufeff富士山", "富士\u2060山", "富\u00ad士山"]
)
def test_invisible_characters_make_no_difference(hidden):
    """画面に出ない文字だけが違う選択肢は、読む人には同じ。"""
    assert normalize(hidden) == normalize("富士山")


@pytest.mark.parametrize(
    "asked",
    ["山は何でしょう", "山は、何でしょう?", "山は\u200b何でしょう？", "「山」は何でしょう?"],
)
def test_punctuation_makes_nearly_no_difference(asked):
    assert loosely(asked) == loosely("山は何でしょう?")
    assert loosely("+") != loosely("-")
