int cublasLtCreate(void **place) { return handle(place); }
int cublasLtMatmulDescCreate(void **place) { return handle(place); }
int cublasLtMatrixLayoutCreate(void **place) { return handle(place); }
int cublasLtMatmulPreferenceCreate(void **place) { return handle(place); }
int cublasLtMatrixTransformDescCreate(void **place) { return handle(place); }

int cublasLtMatmulAlgoGetHeuristic(void *blas, void *product, void *a, void *b, void *c, void *d, void *preference,
                                   int wanted, void *results, int *found) {
    memset(results, 0, 64);
    *found = 1;
    return 0;
}
