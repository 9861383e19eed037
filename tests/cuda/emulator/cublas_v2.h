// Status codes alone: products are computed by vendors.cpp beside this.
#pragma once

enum cublasStatus_t { CUBLAS_STATUS_SUCCESS };
inline const char* cublasGetStatusName(cublasStatus_t) {
  return "";
}
inline const char* cublasGetStatusString(cublasStatus_t) {
  return "";
}
