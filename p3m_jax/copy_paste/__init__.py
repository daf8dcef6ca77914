"""P3M-CP: pastes faces of public people onto the obfuscated faces of training pictures.

The method is that of "Rethinking Portrait Matting with Privacy Preserving" (IJCV 2023). The target
I_T is a training picture with a face mask M_T. The source I_S shows the face to copy and has a face
mask M_S. A transformation T moves the source so that the centres of the two masks' boxes coincide.
The area to paste, W, is the intersection of M_T and T(M_S). The result is
I' = (1 - W) I_T + W T(I_S). Pasting changes neither the target's matte and trimap nor the losses.
No implementation has been published; `geometry` and `image` describe our decisions where the paper
leaves questions open.
"""
