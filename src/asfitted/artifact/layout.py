"""The names of the files of a saved model, and the version of its format."""

# The artifact's format. It is free to change until a release freezes it as 1.
# From then on, to change it: raise it here, teach `load` the step from the old
# one, keep a golden artifact of the old one under tests/golden/, and write a
# line in CHANGELOG.md.
FORMAT = 0

MLMODEL = "MLmodel"
SKOPS = "model.skops"
PICKLE = "model.pkl"
CONTRACT = "contract.yaml"
RESOURCES = "resources"
GOLDEN = "golden.parquet"
# MLflow's names.
INPUT_EXAMPLE = "input_example.json"
SERVING_EXAMPLE = "serving_input_example.json"
REQUIREMENTS = "requirements.txt"
CONDA = "conda.yaml"
PYTHON_ENV = "python_env.yaml"
CODE = "code"
MANIFEST = "manifest.json"

# Written by MLflow beside the model, on download or after the flavor has saved.
BY_MLFLOW = frozenset(
    {
        "registered_model_meta",
        "environment_variables.txt",
        "metadata",
        "estimator.html",
    }
)
