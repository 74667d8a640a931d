int cublasCreate_v2(void **place) { return handle(place); }
int cublasGetMathMode(void *blas, int *mode) { *mode = 0; return 0; }
const char *cublasGetStatusName(int status) { return "stand-in"; }
const char *cublasGetStatusString(int status) { return "stand-in"; }
