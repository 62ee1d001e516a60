"""文字の扱い: 1 行にする、同じ文字列とみなす、ほぼ同じとみなす。"""

import re
import unicodedata
from functools import lru_cache

# 改行やタブと、ほかの画面に出ない制御文字
BREAKS = r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+"

# 画面に出ない文字: 幅のない空白、改行を許さない印、BOM など
INVISIBLE = r"[\u00ad\u200b\u200c\u2060\ufeff]+"
# 全角の英数字と記号と空白、半角のカタカナ (Unicode で <wide> か <narrow> の文字)。
# ² や ① は、ここにない
WIDTHS = r"[\u3000\uff01-\uffee]+"


def one_line(text):
    """改行やタブや制御文字を空白 1 つにし、前後の空白を除く。ほかの文字は変えない。

    プロンプトは 1 行に 1 つの選択肢なので、選択肢の中に改行があってはならない。
    """
    return re.sub(BREAKS, " ", text).strip()


@lru_cache  # 1 問の候補を、何度か調べる
def normalize(text):
    """読む人に同じに見える文字列を、同じにする: 全角と半角、濁点の合成の違いだけを除く。

    「？」と「?」、「ｶﾞ」と「ガ」は同じ。
    「2⁸」と「28」、「kg」と「KG」、「else if」と「elseif」は違う。
    """
    text = re.sub(INVISIBLE, "", text)
    usual_width = re.sub(WIDTHS, lambda match: unicodedata.normalize("NFKC", match[0]), text)
    return unicodedata.normalize("NFC", usual_width)


def loosely(text):
    """ほぼ同じ文字列を、同じにする。

    上付き文字など (NFKC)、記号と空白、大文字と小文字の違いも除く。
    """
    plain = unicodedata.normalize("NFKC", text).casefold()
    # 記号だけの文は、そのまま比べる
    return re.sub(r"[\W_]+", "", plain) or "".join(plain.split())
