(ns httpkit.ranges-test
  "Parts of files: as bodies of their own, and for requests with `Range` (RFC 9110 14)."
  (:require [clojure.java.io    :as io]
            [clojure.string     :as str]
            [clojure.test       :refer [deftest is testing]]
            [httpkit.wire       :as wire]
            [org.httpkit.server :as server])
  (:import (java.io File)
           (java.util Arrays)))

(set! *warn-on-reflection* true)

(def ^:private size "Beyond `:body-buffer-size`, up to which files are read into memory." 700000)

(defn- content ^bytes [offset length]
  (byte-array (map #(unchecked-byte (rem % 251)) (range offset (+ (long offset) (long length))))))

(defmacro ^:private with-file
  "`name` is a File with `content`."
  [[name length] & body]
  `(let [~name (File/createTempFile "ranges" ".bin")]
     (try
       (io/copy (content 0 ~length) ~name)
       ~@body
       (finally (.delete ~name)))))

(def ^:private modes
  {"in order"     {:wrap identity :options {}}
   "asynchronous" {:wrap    (fn [handler] (fn [request respond _] (respond (handler request))))
                   :options {:ring-async? true}}})

(defn- ask
  "The response to a request, with its body as bytes, on a connection that goes on."
  [conn method headers]
  (wire/send! conn (str/replace-first (apply wire/get-request "/" headers) "GET" method))
  (wire/answer conn :raw? true :head? (= "HEAD" method)))

(defn- facts [{:keys [status headers]}]
  [status (headers "content-range") (headers "accept-ranges") (headers "content-length")])

(defn- part? [answer offset length]
  (Arrays/equals (content offset length) ^bytes (:body answer)))

(deftest a-files-headers-keep-their-order-however-many-there-are
  (with-file [file 100]
    (let [names (mapv #(str "X-" %) (range 20))]
      (wire/with-server [{:keys [port]} (server/wrap-range (constantly {:body file, :headers (apply array-map (interleave names (range)))})) {}]
        (doseq [headers [[] [["Range" "bytes=0-9"]] [["Range" "bytes=200-"]]]]
          (with-open [conn (wire/connect port)]
            (wire/send! conn (apply wire/get-request "/" headers))
            (let [lines (doall (take-while seq (repeatedly #(wire/read-line! conn))))]
              (is (= names (keep #(re-find #"^X-\d+" %) lines)) headers))))))))

(deftest a-range-of-a-file-is-sent-as-its-part
  (with-file [file size]
    (doseq [[mode {:keys [wrap options]}] modes]
      (wire/with-server [{:keys [port]} (server/wrap-range (wrap (constantly {:body file}))) options]
        (with-open [conn (wire/connect port)]
          (doseq [[asked offset length] [["bytes=0-0" 0 1]
                                         ["bytes=0-99" 0 100]
                                         ["bytes=100-" 100 699900]
                                         ["bytes=300000-699999" 300000 400000]
                                         ["bytes=699999-" 699999 1]
                                         ["bytes=-100" 699900 100]
                                         ["bytes=-9999999999999999999999" 0 size]
                                         ["bytes=5-9999999999999999999999" 5 699995]
                                         ["bytes=00000000000000000000007-8" 7 2]
                                         ["BYTES=1-2" 1 2]]]
            (testing (str mode ", " asked)
              (let [answer (ask conn "GET" [["Range" asked]])]
                (is (= [206 (str "bytes " offset "-" (+ offset length -1) "/" size) "bytes" (str length)]
                       (facts answer)))
                (is (part? answer offset length))))))))))

(deftest what-is-not-one-range-of-bytes-gets-the-whole-file
  (with-file [file 1000]
    (wire/with-server [{:keys [port]} (server/wrap-range (constantly {:status 200 :headers {} :body file})) {}]
      (with-open [conn (wire/connect port)]
        (doseq [asked [nil "bytes=5-2" "bytes=0-1,5-6" "bytes=-" "bytes=a-b" "bytes=1" "items=0-1" "bytes 0-1"
                       "bytes=0-1-2" "=0-1"]]
          (testing (pr-str asked)
            (let [answer (ask conn "GET" (when asked [["Range" asked]]))]
              (is (= [200 nil "bytes" "1000"] (facts answer)))
              (is (part? answer 0 1000)))))
        (testing "HEAD has no ranges"
          (is (= [200 nil "bytes" "1000"] (facts (ask conn "HEAD" [["Range" "bytes=0-1"]])))))
        (testing "nor has POST"
          (is (= [200 nil nil "1000"] (facts (ask conn "POST" [["Range" "bytes=0-1"] ["Content-Length" "0"]])))))))))

(deftest a-range-without-a-byte-of-the-file-gets-416
  (doseq [[length asked] [[1000 "bytes=1000-"] [1000 "bytes=9999999999999999999-"] [1000 "bytes=-0"] [0 "bytes=0-"]
                          [0 "bytes=-5"]]]
    (testing (str asked " of " length)
      (with-file [file length]
        (wire/with-server [{:keys [port]}
                           (server/wrap-range (constantly {:headers {"Content-Type" "video/mp4"} :body file})) {}]
          (with-open [conn (wire/connect port)]
            (let [answer (ask conn "GET" [["Range" asked]])]
              (is (= [416 (str "bytes */" length) "bytes" "0"] (facts answer)))
              (is (nil? (get-in answer [:headers "content-type"]))))
            (is (= 200 (:status (ask conn "GET" []))) "the connection goes on")))))))

(deftest if-range-is-a-strong-etag-or-a-date
  (with-file [file 1000]
    (let [date    "Sat, 28 Nov 2026 12:00:00 GMT"
          headers {"etag" "\"a\"" "Last-Modified" date "Content-Length" "1000"}]
      (wire/with-server [{:keys [port]} (server/wrap-range (constantly {:status 200 :headers headers :body file})) {}]
        (with-open [conn (wire/connect port)]
          (doseq [[if-range status] [["\"a\"" 206] ["\"b\"" 200] ["W/\"a\"" 200] [date 206]
                                     ["Sat, 28 Nov 2026 12:00:01 GMT" 200] ["a" 200]]]
            (testing if-range
              (let [answer (ask conn "GET" [["Range" "bytes=10-19"] ["If-Range" if-range]])]
                (is (= status (:status answer)))
                (is (if (= 206 status) (part? answer 10 10) (part? answer 0 1000)))))))))))

(deftest headers-may-be-sequences
  (with-file [file 1000]
    (doseq [[headers if-range status] [[{"ETag" ["\"a\""]} "\"a\"" 206]
                                       [{"ETag" (object-array ["\"a\""])} "\"a\"" 206]
                                       [{"ETag" ["\"b\""]} "\"a\"" 200]
                                       [{"ETag" ["\"a\"" "\"b\""]} "\"a\"" 200]
                                       [{"ETag" []} "\"a\"" 200]
                                       [{"Accept-Ranges" ["none"]} nil 200]
                                       [{"Accept-Ranges" '("bytes")} nil 206]
                                       [{"Content-Range" ["bytes 0-999/5000"]} nil 200]
                                       [{"Content-Range" ["bytes 0-999/5000" "bytes 0-999/6000"]} nil 200]]]
      (testing (pr-str headers)
        (wire/with-server [{:keys [port]} (server/wrap-range (constantly {:status 200 :headers headers :body file})) {}]
          (with-open [conn (wire/connect port)]
            (is (= status (:status (ask conn "GET" (cond-> [["Range" "bytes=10-19"]]
                                                     if-range (conj ["If-Range" if-range]))))))))))))

(deftest other-responses-are-left-alone
  (with-file [file 1000]
    (doseq [response [{:status 200 :headers {} :body "text"}
                      {:status 404 :headers {} :body file}
                      {:status 200 :headers {"accept-ranges" "none"} :body file}
                      {:status 200 :headers {"content-range" "bytes 0-999/5000"} :body file}]]
      (wire/with-server [{:keys [port]} (server/wrap-range (constantly response)) {}]
        (with-open [conn (wire/connect port)]
          (let [answer (ask conn "GET" [["Range" "bytes=0-1"]])]
            (is (= (:status response) (:status answer)))
            (is (not= "bytes" (get-in answer [:headers "accept-ranges"])))
            (is (= (if (string? (:body response)) 4 1000) (alength ^bytes (:body answer))))))))))

(deftest a-part-is-a-body-by-itself
  (with-file [file size]
    (doseq [[what source]   {"a File" file "a Path" (.toPath ^File file) "a String" (str file)}
            [offset length] [[0 0] [0 5] [700000 0] [123456 1000] [1 600000]]]
      (testing (str what ", " length " from " offset)
        (wire/with-server [{:keys [port]} (fn [_] {:status 206 :body (server/file-part source offset length)}) {}]
          (with-open [conn (wire/connect port)]
            (dotimes [_ 2]
              (is (part? (ask conn "GET" []) offset length)))
            (is (= [206 nil nil (str length)] (facts (ask conn "HEAD" []))))))))))

(deftest a-handler-that-was-interrupted-sends-its-part
  (with-file [file size]
    (doseq [length [1000 600000]]
      (wire/with-server [{:keys [port]} (fn [_]
                                          (.interrupt (Thread/currentThread))
                                          {:body (server/file-part file 5 length)}) {}]
        (with-open [conn (wire/connect port)]
          (is (part? (ask conn "GET" []) 5 length)))))))

(deftest a-part-that-the-file-does-not-have-is-a-500-and-is-logged
  (with-file [file size]
    (doseq [[offset length] [[699999 2] [700001 1] [1 size] [800000 300000]]]
      (testing (str length " from " offset)
        (wire/with-server [{:keys [port errors]} (fn [_] {:body (server/file-part file offset length)}) {}]
          (with-open [conn (wire/connect port)]
            (is (= [500 500] (map #(:status (ask conn % [])) ["GET" "HEAD"])))
            (is (wire/eventually #(= 2 (count @errors))))))))))

(deftest arguments-that-are-no-part-are-refused
  (doseq [[file offset length text] [["f" -1 5 "part of 5 bytes from -1 on: expected no number below 0"]
                                     ["f" 1 -5 "part of -5 bytes from 1 on: expected no number below 0"]
                                     ["f" 1 Long/MAX_VALUE "part of 9223372036854775807 bytes from 1 on: expected an end of at most 9223372036854775807"]
                                     ["f" "x" 1 "offset \"x\" of file-part: expected an integer of at most 63 bits"]
                                     ["f" nil 1 "offset nil of file-part: expected an integer"]
                                     ["f" 1.5 2 "offset 1.5 of file-part: expected an integer"]
                                     ["f" 0 2/3 "length 2/3 of file-part: expected an integer"]
                                     ["f" 0 9223372036854775808 "length 9223372036854775808N of file-part: expected an integer"]
                                     [7 0 1 "file-part of 7: expected a File, a Path or a String"]]]
    (is (thrown-with-msg? IllegalArgumentException (re-pattern text) (server/file-part file offset length)))))

(deftest a-response-that-cannot-be-sent-is-a-logged-500-behind-wrap-range-too
  (with-file [file size]
    (doseq [[mode options]           {"in order" {} "asynchronous" {:ring-async? true}}
            [about response request] [["a header's name that is no String" {:headers {:content-type "text/plain"} :body file}
                                       [["Accept-Encoding" "gzip"]]]
                                      ["wrong :compression" {:compression {:lvl 3} :body file} []]
                                      ["headers that are no map" {:headers [1 2] :body file} []]]]
      (testing (str mode ", " about)
        (wire/with-server [{:keys [port errors]}
                           (server/wrap-range (if (:ring-async? options)
                                                ;; What is thrown there is lost.
                                                (fn [_ respond _] (future (respond response)))
                                                (constantly response)))
                           (assoc options :compression true)]
          (with-open [conn (wire/connect port)]
            (is (= 500 (:status (ask conn "GET" (cons ["Range" "bytes=0-9"] request))))))
          (is (wire/eventually #(= 1 (count @errors))) (pr-str @errors)))))))

(deftest a-416-keeps-what-else-the-response-says
  (with-file [file 100]
    (let [response ((server/wrap-range (constantly {:status 200 :headers {"X" "1"} :session {:user 1} :body file}))
                    {:request-method :get :headers {"range" "bytes=200-"}})]
      (is (= {:status 416 :session {:user 1} :body nil :headers {"X" "1" "Accept-Ranges" "bytes" "Content-Range" "bytes */100"}}
             response)))))
