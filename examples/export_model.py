"""Export a trained model: a run -> a folder with the graph and what turns raw rows into its inputs.

  python examples/export_model.py --run runs/run_own_table/mlp_adp-2022 --out served
      graph.mindir, which MindSpore runs
  python examples/export_model.py --run runs/run_own_table/mlp_adp-2022 --out served --format onnx
      graph.onnx, which onnxruntime runs without MindSpore; --format mindir,onnx writes both

`hamur.load("served")`, examples/predict.py --run served and python -m hamur.serving --model served
score raw rows with it; request.json has three rows and their scores.  --out is absent or complete
at any moment.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also runs without installation

if __name__ == "__main__":
    from hamur.commands.export_model import main_export

    sys.exit(main_export(__file__, __doc__))
