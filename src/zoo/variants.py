"""The table of networks: a row is one published network of a family.

A new variant is one more row here. A new architecture is one file of modules, its family in src/zoo, its case in
src/models/build.py, and its rows.
"""

from .convnet import VGG, AlexNet, AlexNetCifar, SmallCNN
from .densenet import CifarDenseNet, ImageNetDenseNet
from .preact import PreActResNet, ResNetV2, WideResNet
from .registry import register
from .resnet import CifarResNet, ImageNetResNet
from .speednet import SpeedNet

register(
    CifarResNet(name="cifar_resnet"),
    *(CifarResNet(name=f"resnet{depth}", depth=depth) for depth in (20, 32, 44, 56, 110, 1202)),
    *(CifarResNet(name=f"resnet{d}", depth=d, block="bottleneck", shortcut="B") for d in (164, 1001)),
    *(CifarResNet(name=f"plain{depth}", depth=depth, shortcut="none") for depth in (20, 32, 44, 56, 110)),
)


for groups in (8, 16):
    register(
        CifarResNet(
            name=f"resnext29_{groups}x64d",
            depth=29,
            block="bottleneck",
            shortcut="B",
            width=64,
            cardinality=groups,
            group_width=64,
        )
    )


register(ImageNetResNet(name="imagenet_resnet"))


for stem, suffix in (("imagenet", ""), ("cifar", "_cifar")):
    register(
        *(ImageNetResNet(name=f"resnet{d}{suffix}", depth=d, stem=stem) for d in (18, 34, 50, 101, 152)),
        *(ImageNetResNet(name=f"plain{d}{suffix}", depth=d, shortcut="none", stem=stem) for d in (18, 34)),
    )


register(
    *(ImageNetResNet(name=f"resnet{d}_a", depth=d, shortcut="A") for d in (18, 34)),
    ImageNetResNet(name="resnet34_c", depth=34, shortcut="C"),
)


register(
    *(ImageNetResNet(name=f"wrn{depth}_2", depth=depth, group_width=128) for depth in (50, 101)),
    ImageNetResNet(name="resnext50_32x4d", depth=50, cardinality=32, group_width=4),
    ImageNetResNet(name="resnext101_32x8d", depth=101, cardinality=32, group_width=8),
    ImageNetResNet(name="resnext101_64x4d", depth=101, cardinality=64, group_width=4),
    *(ImageNetResNet(name=f"se_resnet{depth}", depth=depth, se=True) for depth in (50, 101, 152)),
    *(
        ImageNetResNet(name=f"se_resnext{depth}_32x4d", depth=depth, cardinality=32, group_width=4, se=True)
        for depth in (50, 101)
    ),
)


register(
    PreActResNet(name="preact_resnet"),
    *(PreActResNet(name=f"preact_resnet{depth}", depth=depth) for depth in (20, 32, 44, 56, 110)),
    *(PreActResNet(name=f"preact_resnet{d}", depth=d, block="bottleneck", shortcut="B") for d in (164, 1001)),
    PreActResNet(name="preact_resnet20_mish", depth=20, activation="mish"),
)


register(
    WideResNet(name="wide_resnet"),
    *(WideResNet(name=f"wrn{d}_{k}", depth=d, widen=k) for d, k in ((16, 8), (28, 10), (40, 4))),
)


register(
    SpeedNet(name="speednet"),
    SpeedNet(name="speednet8"),
    SpeedNet(name="speednet11", depth=11, widths=[128, 384, 512]),
)


register(
    ResNetV2(name="resnet_v2"),
    *(ResNetV2(name=f"resnet{depth}v2", depth=depth) for depth in (50, 101, 152)),
    ResNetV2(name="resnet152v2_convhead", depth=152, head="conv"),
)


register(
    ImageNetDenseNet(name="densenet"),
    *(ImageNetDenseNet(name=f"densenet{depth}", depth=depth) for depth in (121, 161, 169, 201)),
    CifarDenseNet(name="cifar_densenet"),
    *(
        CifarDenseNet(name=f"densenet_bc{depth}_{growth}", depth=depth, growth=growth)
        for depth, growth in ((100, 12), (250, 24), (190, 40))
    ),
)


register(VGG(name="vgg"))


for head, suffix in (("mlp", ""), ("linear", "_cifar")):
    for norm in (False, True):
        register(
            *(
                VGG(name=f"vgg{depth}{'_bn' * norm}{suffix}", depth=depth, batch_norm=norm, head=head)
                for depth in (16, 19)
            )
        )


register(AlexNet(name="alexnet"), AlexNetCifar(name="alexnet_cifar"), SmallCNN(name="small_cnn"))
