#!/usr/bin/env bash
# デモ: 手順1から5までを、GPU もネットワーク上のモデルもなしで通す。
#     bash data/demo/run.sh
#     bash data/demo/run.sh --seed 1                       # 引数は手順3に渡る (ここでは学習の乱数の種)
#     DEMO_MODEL=../without-dev bash data/demo/run.sh      # 別の基盤モデルで (data/demo/out から見た場所)
# 変えているのは YAML の先頭 2 行と、小さいモデルに合わせた学習の量だけ (理由は data/demo/README.md)。
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
. data/demo/venv.sh  # .venv を作り、requirements.txt を入れる
export PATH="$root/.venv/bin:$PATH"
export PYTHONPATH="$root"  # data/demo/out からも quiz/ が見えるように
export AXOLOTL_DO_NOT_TRACK=1 HF_HUB_OFFLINE=1  # 利用状況を送らない。モデルは手元のものだけを使う

mkdir -p data/demo/out
cd data/demo/out
rm -rf demo-qlora-out result*
say() { printf '\n== %s\n' "$*"; }

say "手順1: 学習用ファイルを作る"
python "$root/convert_train.py" ../train_questions.json

say "手順2: 評価用ファイルを作る (dev1 と dev2)"
python "$root/convert_eval.py" ../dev1_questions.json -o quiz.json
python "$root/convert_eval.py" ../dev2_questions.json -o quiz-dev2.json

say "手順4 (学習前): 何も学習していないモデルに解かせる"
sed -e "s#^base_model:.*#base_model: ${DEMO_MODEL:-../model}#" -e 's#^output_dir:.*#output_dir: ./demo-qlora-out#' "$root/qlora-opencalm.yml" > qlora-demo.yml
python "$root/run_quiz.py" --config qlora-demo.yml --base --quiz quiz.json -o result-base-dev1.json
python "$root/run_quiz.py" --config qlora-demo.yml --base --quiz quiz-dev2.json -o result-base-dev2.json

say "手順3: QLoRA で学習する (約 2 分)"
accelerate launch -m axolotl.cli.train qlora-demo.yml \
    --micro_batch_size 8 --gradient_accumulation_steps 1 --learning_rate 0.002 --gradient_checkpointing false "$@"

say "手順4 (学習後)"
python "$root/run_quiz.py" --config qlora-demo.yml --quiz quiz.json -o result-tuned-dev1.json
python "$root/run_quiz.py" --config qlora-demo.yml --quiz quiz-dev2.json -o result-tuned-dev2.json

say "手順5: 正解率 (base: 学習前、tuned: 学習後)"
python "$root/analysis.py" --genre
