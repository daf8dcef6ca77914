"""P3M-CP: faces of public people are pasted onto the obfuscated ones of training pictures.

"Rethinking Portrait Matting with Privacy Preserving" (IJCV 2023). With a target I_T and its face
mask M_T, a source I_S and its face mask M_S, moved by a transformation T so that the centres of the
two masks' boxes coincide, and W = M_T and T(M_S): I' = (1 - W) I_T + W T(I_S). Matte, trimap and
losses stay the target's. No implementation has been published; what we had to decide stands in
`geometry` and `image`.
"""
