(ns httpkit.http-utils-test
  "`HttpUtils`: names, URIs, charsets, bodies, whole messages."
  (:require [clojure.java.io :as io]
            [clojure.string :as str]
            [clojure.test :refer [deftest is testing are]]
            [httpkit.files :as files])
  (:import [java.io ByteArrayInputStream EOFException File FileNotFoundException
            IOException InputStream]
           [java.net URI UnknownHostException]
           [java.nio ByteBuffer]
           [java.nio.charset Charset]
           [java.time ZonedDateTime]
           [java.time.format DateTimeFormatter]
           [org.httpkit ContentTooLargeException DynamicBytes HeaderMap HttpUtils]))

(defn- bytes-of ^bytes [^String s] (.getBytes s "UTF-8"))

(defn- text
  "The remaining bytes of a buffer."
  [^ByteBuffer b]
  (let [a (byte-array (.remaining b))]
    (.get (.duplicate b) a)
    (String. a "UTF-8")))

;;;; Names and URIs

(deftest camel-case-raises-the-letter-after-a-dash-and-lowers-the-rest
  (are [given camel] (= camel (HttpUtils/camelCase given))
    "USER-agent" "User-Agent"
    "ETAG"       "Etag"
    "ETag"       "Etag"
    "x-API-key"  "X-Api-Key"
    "a_b-c.d"    "A_b-C.d"
    "-a--B-"     "-A--B-"
    "1-2x"       "1-2x"
    ""           ""
    "É-ı-K"      "É-ı-K"))

(deftest encode-uri-escapes-what-cannot-stand-in-a-target
  (are [given encoded] (= encoded (HttpUtils/encodeURI given))
    "/a b%20c?x=é#f"   "/a%20b%20c?x=%C3%A9#f"
    "'[]@"             "'[]@"
    "\"<>\\^{}`|"      "%22%3C%3E%5C%5E%7B%7D%60%7C"
    "%zz%"             "%zz%"
    "\u0000\r\n\t \u007f" "%00%0D%0A%09%20%7F"
    "!~"               "!~"
    "☃𝄞"               "%E2%98%83%F0%9D%84%9E"
    ""                 ""))

(deftest encode-uri-is-idempotent-and-graphic-ascii
  (doseq [c (range 0 0x300)
          :let [once (HttpUtils/encodeURI (str "/" (char c)))]]
    (is (re-matches #"[!-~]+" once))
    (is (= once (HttpUtils/encodeURI once)))))

(defn- uri ^URI [s] (URI. s))

(deftest paths-are-encoded-without-fragment
  (are [u path] (= path (HttpUtils/getPath (uri u)))
    "http://h?x=1"         "/?x=1"
    "http://h"             "/"
    "http://h/"            "/"
    "http://h/a/../b?"     "/a/../b?"
    "http://h/a%20b?c=%41" "/a%20b?c=%41"
    "http://h/ä?ö#ü"       "/%C3%A4?%C3%B6"
    "http://h#f"           "/"
    "mailto:a@b"           "/"))

(deftest proxy-targets-are-whole-uris-without-fragment
  (are [u target] (= target (HttpUtils/getProxyTarget (uri u)))
    "https://h/ä#f"      "https://h/%C3%A4"
    "http://h:81/a?b=%20" "http://h:81/a?b=%20"
    "http://h"           "http://h"
    "http://h/#"         "http://h/"))

(deftest ports-are-explicit-or-by-scheme
  (are [u port] (= port (HttpUtils/getPort (uri u)))
    "http://h" 80, "https://h" 443, "HTTPS://h" 443, "HttpS://h:8" 8
    "wss://h" 80, "ws://h" 80, "//h" 80, "http://h:0" 0, "http://h:99999" 99999))

(deftest names-that-no-host-should-have-are-taken-apart-all-the-same
  (are [u host port] (= [host port] [(HttpUtils/getHost (uri u)) (HttpUtils/getPort (uri u))])
    "http://my_svc/"            "my_svc"       80
    "https://my_svc:8080/a_b"   "my_svc:8080"  8080
    "http://my_svc:/"           "my_svc"       80
    "http://u:p%40:1@_a.b_:9"   "_a.b_:9"      9
    "http://-a-:9"              "-a-:9"        9
    "http://a.1b"               "a.1b"         80
    "//a~b_"                    "a~b_"         80
    "http://[::1]:/"            "[::1]"        80
    "http://h:/"                "h"            80)
  (doseq [none ["http://a_b:c" "http://a_b:1:2" "http://a_b:99999999999" "http://a%5fb_" "http://a_b,c" "http://u_@" "http://a_b@c_d@e_f"
                "http://\u00e9_a/" "http://:80" "mailto:a_b@c_d" "/a_b"]]
    (is (nil? (HttpUtils/getHost (uri none))) none)))

(deftest hosts-show-only-an-explicit-port
  (are [u host] (= host (HttpUtils/getHost (uri u)))
    "http://h/a"      "h"
    "http://h:80"     "h:80"
    "http://[::1]:80/" "[::1]:80"
    "http://[::1]/"   "[::1]"
    "http://u:p@H:1"  "H:1"
    "/a"              nil))

(deftest server-addresses-are-resolved
  (are [u addr] (= addr (str (HttpUtils/getServerAddr (uri u))))
    "https://127.0.0.1/"   "/127.0.0.1:443"
    "http://127.0.0.1:81/" "/127.0.0.1:81")
  (let [a (HttpUtils/getServerAddr (uri "http:///a"))]
    (is (.isLoopbackAddress (.getAddress a)))
    (is (= 80 (.getPort a))))
  (is (.isLoopbackAddress (.getAddress (HttpUtils/getServerAddr (uri "http://[::1]:81/")))))
  (is (thrown? IllegalArgumentException (HttpUtils/getServerAddr (uri "http://127.0.0.1:99999"))))
  (is (thrown? UnknownHostException (HttpUtils/getServerAddr (uri "http://name.invalid/")))))

;;;; Charsets

(defn- charset [s]
  (some-> (HttpUtils/parseCharset s) .name))

(deftest parse-charset-reads-the-charset-parameter
  (are [content-type name] (= name (charset content-type))
    nil                                       nil
    ""                                        nil
    "text/html"                               nil
    "text/html; charset=utf-8"                "UTF-8"
    "text/html;charset=GBK"                   "GBK"
    "text/html; CharSet=gbk"                  "GBK"
    "text/html; charset = gbk "               "GBK"
    "text/html; charset\t=\tgbk; a=b"         "GBK"
    "text/html; a=b; charset=gbk"             "GBK"
    "text/html; charset=\"gbk\""              "GBK"
    "text/html; charset=\"g\\bk\""            "GBK"
    "text/html; a=\"x;charset=utf-8\"; charset=gbk" "GBK"
    "text/html; a=\"x\\\";charset=utf-8\"; charset=gbk" "GBK"
    "text/html; notcharset=gbk"               nil
    "text/html; charsets=gbk"                 nil
    "text/html; charset"                      nil
    "text/html; charset="                     nil
    "text/html; charset=\"\""                 nil
    "text/html; charset=bogus-x"              nil
    "text/html; charset=b ad"                 nil
    ";;; charset=gbk"                         "GBK"))

(deftest charset-parameter-is-text-known-or-not
  (are [content-type text] (= text (HttpUtils/parseCharsetName content-type))
    "text/plain; charset=bogus-x"       "bogus-x"
    "text/plain; charset=\"utf\\-16\""  "utf-16"
    "text/plain; charset=iso-8859-1"    "iso-8859-1"
    "text/plain; charset="              nil
    "text/plain"                        nil))

(deftest parse-charset-takes-linear-time-and-constant-stack
  (doseq [filler ["\\a" ";" " " "=" "\"" "a" "; a=\"" "\\\\\"" "charset"]
          :let [n 200000
                s (str "text/html; x=\"" (str/join (repeat n filler)))]]
    (is (nil? (HttpUtils/parseCharset s)) filler)))

(defn- detected [content-type ^String body]
  (.name (HttpUtils/detectCharset {"content-type" content-type}
           (.append (DynamicBytes. 16) body))))

(deftest detect-charset-asks-header-then-html-then-xml
  (are [content-type body name] (= name (detected content-type body))
    "text/html; charset=gbk" "charset=utf-16\"" "GBK"
    "text/html" "<meta http-equiv=\"Content-Type\" content=\"text/html; charset=gbk\">" "GBK"
    "text/html; charset=bogus-x" "content=\"text/html; charset=gbk\"" "GBK"
    nil         "<?xml version=\"1.0\" encoding='gbk'?>"   "GBK"
    nil         "<?xml version=\"1.0\" encoding=\"gbk\"?>" "GBK"
    nil         "charset=bogus-x\" encoding='gbk'"         "GBK"
    "text/html" "<meta charset=\"gbk\">"                   "UTF-8"
    "text/html" "CHARSET=gbk\""                            "UTF-8"
    nil         "encoding='gbk\""                          "UTF-8"
    nil         "encoding='bogus-x'"                       "UTF-8"
    nil         ""                                         "UTF-8"
    :gbk        "x"                                        "UTF-8"))

(deftest detect-charset-looks-at-512-bytes
  (let [declared "charset=gbk\""
        at       (fn [n] (detected nil (str (str/join (repeat n " ")) declared)))]
    (is (= "GBK" (at (- 512 (count declared)))))
    (is (= "UTF-8" (at (inc (- 512 (count declared)))))))
  (let [body (.append (DynamicBytes. 600) "x")]
    (System/arraycopy (bytes-of "charset=gbk\"") 0 (.get body) 1 12)
    (is (= "UTF-8" (.name (HttpUtils/detectCharset {} body)))
        "bytes beyond the length do not count"))
  (is (= "UTF-8" (.name (HttpUtils/detectCharset {"Content-Type" "a; charset=gbk"}
                          (DynamicBytes. 0))))
      "the key is lower-case"))

;;;; WebSocket frames

(defn- unsigned [^ByteBuffer b]
  (let [a (byte-array (.remaining b))]
    (.get b a)
    (mapv #(bit-and 255 %) a)))

(deftest ws-encode-writes-one-final-unmasked-frame
  (is (= [0x81 2 0x68 0x69] (unsigned (HttpUtils/WsEncode (byte 1) (bytes-of "hi")))))
  (is (= [0x82 1 0x68] (unsigned (HttpUtils/WsEncode (byte 2) (bytes-of "hi") 1))))
  (are [n head] (let [frame (unsigned (HttpUtils/WsEncode (byte 1) (byte-array n)))]
                  (and (= head (take (count head) frame))
                       (= (+ n (count head)) (count frame))))
    0     [0x81 0]
    125   [0x81 125]
    126   [0x81 126 0 126]
    65535 [0x81 126 0xff 0xff]
    65536 [0x81 127 0 0 0 0 0 1 0 0]))

(deftest ws-encode-refuses-long-control-frames
  (doseq [op [8 9 10]]
    (is (= 127 (count (unsigned (HttpUtils/WsEncode (byte op) (byte-array 125))))))
    (is (thrown? IllegalArgumentException (HttpUtils/WsEncode (byte op) (byte-array 126)))))
  (is (thrown? IndexOutOfBoundsException (HttpUtils/WsEncode (byte 1) (byte-array 2) 3))))

;;;; Bodies

(defn- closing
  "A stream of `s` that tells the atom when it is closed."
  ^InputStream [^String s closed]
  (proxy [ByteArrayInputStream] [(bytes-of s)]
    (close [] (reset! closed true))))

(deftest read-content-reads-just-so-many-bytes
  (let [f (files/temporary-file "hello")]
    (is (= "hell" (String. (HttpUtils/readContent f 4))))
    (is (= "" (String. (HttpUtils/readContent f 0))))
    (is (thrown? EOFException (HttpUtils/readContent f 6)))
    (is (= "hello" (text (HttpUtils/readAll f))))
    (is (= "" (text (HttpUtils/readAll (files/temporary-file ""))))))
  (is (thrown? FileNotFoundException (HttpUtils/readContent (File. "/no/such/file") 1)))
  (is (thrown? FileNotFoundException (HttpUtils/readAll (File. "/no/such/file")))))

(deftest read-all-maps-big-files-and-refuses-those-beyond-2-gib
  (let [f (files/temporary-file "")]
    (with-open [r (java.io.RandomAccessFile. f "rw")]
      (.setLength r (* 20 1024 1024))
      (let [b (HttpUtils/readAll f)]
        (is (.isDirect b))
        (is (= (* 20 1024 1024) (.remaining b))))
      (.setLength r (dec (* 20 1024 1024)))
      (is (not (.isDirect (HttpUtils/readAll f))))
      (.setLength r (bit-shift-left 1 31)) ; sparse
      (is (thrown? ContentTooLargeException (HttpUtils/readAll f)))
      (.setLength r 0))))

(deftest bodies-become-bytes
  (are [body s] (= s (text (HttpUtils/bodyBuffer body)))
    "é"                            "é"
    (bytes-of "b")                 "b"
    (ByteBuffer/wrap (bytes-of "xbx") 1 1) "b"
    (files/temporary-file "file")             "file"
    (list "l" 1 :k)                "l1:k"
    (lazy-seq ["é" "☃"])           "é☃"
    []                             ""
    {:a 1}                         "[:a 1]"
    (map str (range 2000))         (str/join (range 2000)))
  (is (nil? (HttpUtils/bodyBuffer nil)))
  (let [closed (atom false)]
    (is (= "in" (text (HttpUtils/bodyBuffer (closing "in" closed)))))
    (is @closed)))

(deftest other-bodies-are-refused
  (are [body] (thrown-with-msg? RuntimeException #"^class .* is not understandable: .*sequence$"
                (HttpUtils/bodyBuffer body))
    5 :k \c (StringBuilder. "s") (io/as-url "http://h") 1.5)
  (is (thrown? NullPointerException (HttpUtils/bodyBuffer ["a" nil]))))

;;;; Responses

(defn- header-map ^HeaderMap [kvs]
  (let [h (HeaderMap.)]
    (doseq [[k v] (partition 2 kvs)] (.put h k v))
    h))

(defn- response
  "Head and body as texts, with the date's value cut."
  [buffers]
  (update (mapv text buffers) 0 str/replace #"Date: [^\r]+" "Date:"))

(defn- encoded
  ([status kvs body] (response (HttpUtils/HttpEncode status (header-map kvs) body)))
  ([status kvs body server legacy? head?]
   (response (HttpUtils/HttpEncode status (header-map kvs) body server legacy? head?))))

(deftest http-encode-writes-head-and-body
  (is (= ["HTTP/1.1 200 OK\r\nX: 1\r\ncontent-length: 3\r\nDate:\r\n\r\n" "abc"]
         (encoded 200 ["X" "1"] "abc")))
  (is (= ["HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nDate:\r\n\r\n"]
         (encoded 404 [] nil)))
  (is (= ["HTTP/1.1 429 Client Error (429)\r\ncontent-length: 2\r\nServer: s\r\nDate:\r\n\r\n" "é"]
         (encoded 429 [] "é" "s" true false))))

(deftest http-encode-arities-agree
  (let [full (encoded 200 ["X" "1"] "abc" "s" true false)]
    (is (= full
           (response (HttpUtils/HttpEncode 200 (header-map ["X" "1"]) "abc" "s"))
           (response (HttpUtils/HttpEncode 200 (header-map ["X" "1"]) "abc" "s" true))))))

(deftest http-encode-changes-the-map
  (let [h (header-map ["Content-Length" 99 "X" 1 "Transfer-Encoding" "chunked"])]
    (HttpUtils/HttpEncode 200 h "abc" "s")
    (is (= [3 "s" 1] (map #(.get h %) ["content-length" "Server" "X"])))
    (is (.containsKey h "Date"))
    (is (not (.containsKey h "Transfer-Encoding")))
    (is (not (.containsKey h "Content-Length")))))

(deftest http-encode-owns-the-framing
  (are [status kvs body legacy? head? length]
       (let [[head] (encoded status kvs body nil legacy? head?)]
         (and (= length (second (re-find #"(?i)content-length: ([^\r]*)" head)))
              (>= 1 (count (re-seq #"(?i)content-length" head)))
              (not (re-find #"(?i)transfer-encoding" head))))
    200 ["Content-Length" 9]                     "abc" true  false "3"
    200 ["CONTENT-length" 9 "content-length" 8]  "abc" true  false "3"
    200 ["Transfer-encoding" "chunked"]          "abc" true  false "3"
    200 ["Content-Length" 9]                     "abc" false false "3"
    200 ["Content-Length" 9]                     "abc" true  true  "3"
    200 ["Content-Length" "9"]                   nil   false true  "9"
    200 ["Content-Length" "x"]                   nil   false true  "0"
    200 []                                       "abc" false true  "3"
    204 ["Content-Length" 9]                     "abc" true  false nil
    100 ["Content-Length" 9]                     "abc" true  false nil
    205 ["Content-Length" 9]                     "abc" false true  "0"
    304 ["Content-Length" 9]                     "abc" true  false "9"
    304 []                                       "abc" true  false nil))

(deftest http-encode-sends-no-body-where-none-is-allowed
  (are [status head?] (= 1 (count (encoded status [] "abc" nil true head?)))
    100 false, 101 false, 204 false, 205 false, 304 false, 200 true, 500 true)
  (let [closed (atom false)]
    (encoded 204 [] (closing "abc" closed))
    (is @closed "a stream is closed all the same")))

(deftest http-encode-adds-server-and-date-unless-given
  (are [kvs expected] (= expected (first (encoded 200 kvs nil "s" true false)))
    ["Server" "mine" "Date" "d"] "HTTP/1.1 200 OK\r\nServer: mine\r\nDate:\r\ncontent-length: 0\r\n\r\n"
    ["Server" nil "Date" nil]    "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"))

(deftest http-encode-dates-are-now-in-the-fixed-form
  (let [head (text (first (HttpUtils/HttpEncode 200 (HeaderMap.) nil)))
        date (second (re-find #"\r\nDate: ([^\r]+)\r\n" head))
        then (ZonedDateTime/parse date DateTimeFormatter/RFC_1123_DATE_TIME)]
    (is (re-matches #"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT" date))
    (is (> 60 (Math/abs (- (.toEpochSecond then) (quot (System/currentTimeMillis) 1000)))))))

(deftest http-encode-answers-500-for-an-unreadable-body
  (let [failing (proxy [InputStream] []
                  (read ([] (throw (IOException. "brökén")))
                        ([_] (throw (IOException. "brökén")))
                        ([_ _ _] (throw (IOException. "brökén")))))]
    (is (= ["HTTP/1.1 500 Internal Server Error\r\ncontent-length: 6\r\nServer: s\r\nDate:\r\n\r\n"
            "br?k?n"]
           (encoded 200 ["X" 1] failing "s" true false))))
  (is (str/starts-with? (first (encoded 200 ["X" 1] (File. "/no/such/file"))) "HTTP/1.1 500 ")))

(deftest http-encode-refuses-what-cannot-be-sent
  (are [status kvs] (thrown? IllegalArgumentException (encoded status kvs nil))
    99 [], 1000 [], 200 ["X" "a\r\nY: b"], 200 ["X y" "a"])
  (is (thrown? RuntimeException (encoded 200 [] 5))))
