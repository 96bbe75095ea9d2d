"""House prices: the data in the split of the original, and its grading. Hidden from the agent.

The original splits with two calls of `train_test_split`, both with seed 42: 20 % for test, then 12.5 % of the rest for
validation. Here both are shown as one unlabelled pool in a shuffled order.
"""

from pathlib import Path

from kinds.tables import grade_numbers


def prepare(public: Path, private: Path, *, settings: dict, seed: int) -> None:
    """Write train.csv, test.csv and sample_submission.csv for the agent, and answers.csv with the split of each row."""
    import pandas as pd
    from sklearn.model_selection import train_test_split

    source = settings["sources"]["prices"]
    if not source:
        (public / "DATA.txt").write_text("The data set could not be had: these houses are made up, in the same form.\n")
    # read as text, so that every value stays as it is
    table = pd.read_csv(source, dtype=str, keep_default_na=False) if source else generated(settings["rows"], seed)
    rest, test = train_test_split(table, test_size=0.2, random_state=settings["split_seed"])
    train, validation = train_test_split(rest, test_size=0.125, random_state=settings["split_seed"])
    pool = pd.concat([validation.assign(split="validation"), test.assign(split="test")])
    pool = pool.sample(frac=1, random_state=settings["pool_seed"])

    train.to_csv(public / "train.csv", index=False)
    pool.drop(columns=["SalePrice", "split"]).to_csv(public / "test.csv", index=False)
    typical = round(train["SalePrice"].astype(float).mean())
    pool[["Id"]].assign(SalePrice=typical).to_csv(public / "sample_submission.csv", index=False)
    pool[["Id", "SalePrice", "split"]].to_csv(private / "answers.csv", index=False)


def grade(submission, private: Path, *, settings: dict, split: str, seed: int) -> dict[str, float]:
    """r2 and rmse (dollars) of submission.csv on the rows of the split."""
    answers = private / "answers.csv"
    return grade_numbers(submission.path("submission.csv"), answers, id="Id", target="SalePrice", split=split)


def generated(rows: int, seed: int):
    """A made-up table of the same shape: the same columns, kinds of values and missing ones; no house in it exists.

    All columns lean on one hidden worth; the price is an exponential of some of them, with noise.
    """
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(seed)
    worth = rng.normal(size=rows)
    table = {"Id": np.arange(1, rows + 1).astype(str)}
    log_price = np.zeros(rows)
    for line in COLUMNS.strip().splitlines():
        name, values, missing = [*(part.strip() for part in line.split(":")), "0"][:3]
        z = 0.6 * worth + 0.8 * rng.normal(size=rows)
        if name in PRICED:
            log_price += z
        if ".." in values:  # least, median, most: half below the median, a long tail above
            least, median, most = map(float, values.split(".."))
            rank = z.argsort().argsort() / rows
            low, high = 2 * np.minimum(rank, 0.5), np.maximum(2 * rank - 1, 0) ** 4
            column = (least + (median - least) * low + (most - median) * high).round().astype(int).astype(str)
        else:  # the commonest first, each half as common as the one before
            names = values.split("/")
            rank = 1 - z.argsort().argsort() / rows
            column = np.array(names)[np.minimum(-np.log2(rank), len(names) - 1).astype(int)]
        table[name] = np.where(rng.random(rows) < float(missing), "NA", column)
    price = np.exp(12 + 0.38 * log_price / log_price.std() + 0.1 * rng.normal(size=rows))
    return pd.DataFrame({**table, "SalePrice": price.round(-2).astype(int).astype(str)})


PRICED = ("OverallQual", "GrLivArea", "TotalBsmtSF", "YearBuilt", "GarageCars", "LotArea", "Neighborhood")
# name: least..median..most, or the values, the commonest first; then the share that is missing
COLUMNS = """
MSSubClass: 20..50..190
MSZoning: RL/RM/FV/RH/C (all)
LotFrontage: 21..69..313 : 0.18
LotArea: 1300..9480..215245
Street: Pave/Grvl
Alley: Grvl/Pave : 0.94
LotShape: Reg/IR1/IR2/IR3
LandContour: Lvl/Bnk/HLS/Low
Utilities: AllPub/NoSeWa
LotConfig: Inside/Corner/CulDSac/FR2/FR3
LandSlope: Gtl/Mod/Sev
Neighborhood: NAmes/CollgCr/OldTown/Edwards/Somerst/Gilbert/NridgHt/Sawyer/NWAmes/SawyerW/BrkSide/Crawfor/Mitchel/NoRidge/Timber/IDOTRR/ClearCr/StoneBr/SWISU/MeadowV/Blmngtn/BrDale/Veenker/NPkVill/Blueste
Condition1: Norm/Feedr/Artery/RRAn/PosN/RRAe/PosA/RRNn/RRNe
Condition2: Norm/Feedr/Artery/RRNn/PosN/PosA/RRAn/RRAe
BldgType: 1Fam/TwnhsE/Duplex/Twnhs/2fmCon
HouseStyle: 1Story/2Story/1.5Fin/SLvl/SFoyer/1.5Unf/2.5Unf/2.5Fin
OverallQual: 1..6..10
OverallCond: 1..5..9
YearBuilt: 1872..1973..2010
YearRemodAdd: 1950..1994..2010
RoofStyle: Gable/Hip/Flat/Gambrel/Mansard/Shed
RoofMatl: CompShg/Tar&Grv/WdShngl/WdShake/Metal/Membran/Roll/ClyTile
Exterior1st: VinylSd/HdBoard/MetalSd/Wd Sdng/Plywood/CemntBd/BrkFace/WdShing/Stucco/AsbShng/BrkComm/Stone/AsphShn/ImStucc/CBlock
Exterior2nd: VinylSd/MetalSd/HdBoard/Wd Sdng/Plywood/CmentBd/Wd Shng/Stucco/BrkFace/AsbShng/ImStucc/Brk Cmn/Stone/AsphShn/Other/CBlock
MasVnrType: None/BrkFace/Stone/BrkCmn : 0.0055
MasVnrArea: 0..0..1600 : 0.0055
ExterQual: TA/Gd/Ex/Fa
ExterCond: TA/Gd/Fa/Ex/Po
Foundation: PConc/CBlock/BrkTil/Slab/Stone/Wood
BsmtQual: TA/Gd/Ex/Fa : 0.025
BsmtCond: TA/Gd/Fa/Po : 0.025
BsmtExposure: No/Av/Gd/Mn : 0.026
BsmtFinType1: Unf/GLQ/ALQ/BLQ/Rec/LwQ : 0.025
BsmtFinSF1: 0..384..5644
BsmtFinType2: Unf/Rec/LwQ/BLQ/ALQ/GLQ : 0.026
BsmtFinSF2: 0..0..1474
BsmtUnfSF: 0..479..2336
TotalBsmtSF: 0..992..6110
Heating: GasA/GasW/Grav/Wall/OthW/Floor
HeatingQC: Ex/TA/Gd/Fa/Po
CentralAir: Y/N
Electrical: SBrkr/FuseA/FuseF/FuseP/Mix : 0.00068
1stFlrSF: 334..1088..4692
2ndFlrSF: 0..0..2065
LowQualFinSF: 0..0..572
GrLivArea: 334..1464..5642
BsmtFullBath: 0..0..3
BsmtHalfBath: 0..0..2
FullBath: 0..2..3
HalfBath: 0..0..2
BedroomAbvGr: 0..3..8
KitchenAbvGr: 0..1..3
KitchenQual: TA/Gd/Ex/Fa
TotRmsAbvGrd: 2..6..14
Functional: Typ/Min2/Min1/Mod/Maj1/Maj2/Sev
Fireplaces: 0..1..3
FireplaceQu: Gd/TA/Fa/Ex/Po : 0.47
GarageType: Attchd/Detchd/BuiltIn/Basment/CarPort/2Types : 0.055
GarageYrBlt: 1900..1980..2010 : 0.055
GarageFinish: Unf/RFn/Fin : 0.055
GarageCars: 0..2..4
GarageArea: 0..480..1418
GarageQual: TA/Fa/Gd/Ex/Po : 0.055
GarageCond: TA/Fa/Gd/Po/Ex : 0.055
PavedDrive: Y/N/P
WoodDeckSF: 0..0..857
OpenPorchSF: 0..25..547
EnclosedPorch: 0..0..552
3SsnPorch: 0..0..508
ScreenPorch: 0..0..480
PoolArea: 0..0..738
PoolQC: Gd/Ex/Fa : 0.995
Fence: MnPrv/GdPrv/GdWo/MnWw : 0.81
MiscFeature: Shed/Gar2/Othr/TenC : 0.96
MiscVal: 0..0..15500
MoSold: 1..6..12
YrSold: 2006..2008..2010
SaleType: WD/New/COD/ConLD/ConLI/ConLw/CWD/Oth/Con
SaleCondition: Normal/Partial/Abnorml/Family/Alloca/AdjLand
"""  # noqa: E501
