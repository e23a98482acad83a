# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# cmake -DINPUT=file -DOUTPUT=file.c -DNAME=symbol -P embed.cmake
# Writes a C file that defines `const unsigned char NAME[]` and `const int NAME_len`.
file(READ ${INPUT} hex HEX)
string(LENGTH "${hex}" digits)
math(EXPR bytes "${digits} / 2")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," data "${hex}")
string(REGEX REPLACE "(................................................................................)"
       "\\1\n" data "${data}")
file(WRITE ${OUTPUT} "extern const unsigned char ${NAME}[];\nextern const int ${NAME}_len;\n"
     "const unsigned char ${NAME}[] = {\n${data}0};\nconst int ${NAME}_len = ${bytes};\n")
