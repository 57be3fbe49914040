"""The typed configuration: what Hydra composes from `conf/` is checked against these dataclasses.

Types and bounds stand in the annotations; `to_config` turns a composed tree into a frozen config or raises one
`ConfigError` that names the key, what it got and what it accepts. Nothing heavy is imported here, so that a mistake
is reported before TensorFlow or MLflow start.
"""

from .checking import ConfigType, dotted_keys, meant_keys, plain, read_yaml, suggest, to_config, unknown_key
from .commands import (
    AuditConfig,
    CompareConfig,
    EvaluateConfig,
    ExportConfig,
    ParameterConfig,
    PrepareConfig,
    RegisterConfig,
    RerunConfig,
    TuneConfig,
    TunerConfig,
)
from .data import DatasetConfig, ManifestConfig, SourceConfig, SplitConfig, SyntheticConfig, VotesConfig
from .paths import (
    CONF,
    IN_CHECKOUT,
    PACKAGE,
    PACKAGE_NAME,
    PROJECT_ROOT,
    SHIPPED_MODEL,
    output_folder,
    project_path,
    shell_command,
    with_absolute_paths,
)
from .run import (
    AugmentationConfig,
    ClusterConfig,
    Config,
    EvaluationConfig,
    ModelConfig,
    OptimizerConfig,
    SweepConfig,
    ThresholdConfig,
    TrackingConfig,
    TrainerConfig,
)
