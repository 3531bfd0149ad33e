(ns httpkit.channel-file-test
  "Files that are sent on channels."
  (:require [clojure.java.io :as io]
            [clojure.string :as str]
            [clojure.test :refer [deftest is testing]]
            [httpkit.channel-wire :as wire]
            [httpkit.files :as files]
            [org.httpkit.server :as server])
  (:import (java.io DataInputStream File RandomAccessFile)
           (java.util Arrays)))

(set! *warn-on-reflection* true)

(def ^:private keep-bytes 1000)

(defn- content ^bytes [n]
  (byte-array (map #(unchecked-byte (rem % 251)) (range n))))

(defn- sends
  "A handler that sends what `make-data` returns; `outcomes` collects what `send!` returned."
  [outcomes make-data & [options]]
  (fn [req]
    (server/as-channel req
      (assoc options :on-open (fn [ch] (swap! outcomes conj (server/send! ch (make-data req))))))))

(def ^:private kinds
  {"a File" (fn [bytes] [(files/temporary-file bytes) bytes])
   "a part" (fn [^bytes bytes]
              (let [file (files/temporary-file (byte-array (concat [1 2 3] bytes [4 5])))]
                [(server/file-part file 3 (alength bytes)) bytes]))})

(defn- resize! [^File file n]
  (with-open [raf (RandomAccessFile. file "rw")]
    (.setLength raf n)))

(deftest files-longer-than-any-array-are-sent-as-the-peer-takes-them
  (let [size (* 3 1024 1024 1024)
        file (doto (files/temporary-file "first") (resize! size))]
    (doseq [[what length data] [["a File" size file]
                                ["its response" size {:status 200 :body file}]
                                ["a part" (dec size) {:status 206 :body (server/file-part file 1 (dec size))}]]]
      (testing what
        (let [outcomes (atom []), closings (atom [])]
          (wire/with-server [{:keys [port errors]}
                             (sends outcomes (constantly data) {:on-close (fn [_ status] (swap! closings conj status))}) {}]
            (let [conn (wire/connect port)]
              (wire/write! conn (wire/get-request "/"))
              (let [head  (wire/read-head! conn)
                    piece (byte-array 1000000)]
                (is (= (str length) (get-in head [:headers "content-length"])))
                (is (= "text/html; charset=utf-8" (get-in head [:headers "content-type"])))
                (.readFully ^DataInputStream (:in conn) piece)
                (is (= (if (= length size) "first" "irst\0") (String. piece 0 5))))
              (is (wire/eventually #(= [[true] [:server-close]] [@outcomes @closings])))
              (wire/disconnect conn))
            (is (= [] @errors))))))
    (.delete file)))

(deftest files-around-the-buffer-size-arrive-whole
  (doseq [[kind make] kinds
          size        [0 1 (dec keep-bytes) keep-bytes (+ 3 keep-bytes) (* 700 keep-bytes)]
          :let [[body ^bytes bytes] (make (content size))
                length (str (alength bytes))]]
    (testing (str kind " of " size)
      (let [outcomes (atom [])]
        (wire/with-server [{:keys [port errors]}
                           (sends outcomes (fn [{:keys [uri]}]
                                             (case uri
                                               "/"    {:headers {"Content-Type" "a/b"} :body body}
                                               "/304" {:status 304 :headers {"Content-Length" "7"} :body body})))
                           {:body-buffer-size keep-bytes}]
          (let [conn (wire/connect port)]
            (wire/write! conn (str (wire/get-request "/") (wire/get-request "/")))
            (dotimes [_ 2]
              (let [answer (wire/read-answer! conn)]
                (is (= [200 length "a/b"] (cons (:status answer) (map (:headers answer) ["content-length" "content-type"]))))
                (is (Arrays/equals bytes ^bytes (:bytes answer)))))
            (wire/write! conn "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")
            (is (= length (get-in (wire/read-head! conn) [:headers "content-length"])))
            (wire/write! conn (wire/get-request "/304"))
            (is (= [304 "7"] ((juxt :status #(get-in % [:headers "content-length"])) (wire/read-head! conn))))
            (wire/write! conn "GET / HTTP/1.0\r\n\r\n")
            (is (Arrays/equals bytes ^bytes (:bytes (wire/read-answer! conn))))
            (is (wire/ended? conn)))
          (is (wire/eventually #(= (repeat 5 true) @outcomes)))
          (is (= [] @errors)))))))

(deftest a-file-that-starts-or-ends-a-stream-arrives
  (doseq [[kind make] kinds
          :let [[body ^bytes bytes] (make (content (* 700 keep-bytes)))]]
    (wire/with-server [{:keys [port]}
                       #(server/as-channel % {:on-open (fn [ch]
                                                         (server/send! ch {:body body} false)
                                                         (server/send! ch body))}) {}]
      (let [answer (wire/exchange port (wire/get-request "/"))]
        (is (= [:chunked 2] [(:framing answer) (count (:chunks answer))]) kind)
        (is (Arrays/equals (byte-array (concat bytes bytes)) ^bytes (:bytes answer)) kind)))))

(deftest what-cannot-be-opened-throws-and-leaves-the-channel-open
  (let [file     (files/temporary-file (content (* 2 keep-bytes)))
        outcomes (atom [])]
    (doseq [body [(io/file "/no/such/file")
                  (io/file "/tmp")
                  (server/file-part "/no/such/file" 0 (* 2 keep-bytes))
                  (server/file-part "/dev/zero" 0 (* 2 keep-bytes))
                  (server/file-part file 1 (* 2 keep-bytes))]
            method ["GET" "HEAD"]]
      (testing (str method " " body)
        (reset! outcomes [])
        (wire/with-server [{:keys [port errors]}
                           #(server/as-channel % {:on-open (fn [ch]
                                                             (swap! outcomes conj
                                                                    (try (server/send! ch {:body body})
                                                                         (catch java.io.IOException e (class e)))
                                                                    (server/send! ch {:status 404 :body "none"})))})
                           {:body-buffer-size keep-bytes}]
          (let [conn (wire/connect port)]
            (wire/write! conn (str method " / HTTP/1.1\r\nHost: h\r\n\r\n"))
            (is (= 404 (:status (wire/read-head! conn))))
            (wire/disconnect conn))
          (is (wire/eventually #(= 2 (count @outcomes))))
          (is (isa? (first @outcomes) java.io.IOException))
          (is (true? (second @outcomes)))
          (is (= [] @errors)))))))

(deftest a-file-that-shrinks-while-it-is-sent-cuts-the-connection-and-is-logged
  (let [file (files/temporary-file (byte-array (* 40 1024 1024)))]
    (wire/with-server [{:keys [port errors]} (sends (atom []) (constantly file)) {}]
      (let [conn (wire/connect port :receive-buffer 4096)]
        (wire/write! conn (wire/get-request "/"))
        (let [head (wire/read-head! conn)]
          (resize! file 1000)
          (is (not (:complete? (wire/read-body! conn head)))))
        (is (wire/eventually #(= 1 (count @errors))))
        (is (str/includes? (ex-message (second (first @errors))) "shorter"))))
    (.delete file)))

(deftest files-of-up-to-a-mebibyte-are-compressed
  (doseq [[size coded?] [[100000 true] [1000000 true] [2000000 false]]]
    (wire/with-server [{:keys [port]}
                       (sends (atom []) (constantly (files/temporary-file (byte-array size))))
                       {:compression true :body-buffer-size keep-bytes}]
      (let [{:keys [headers bytes]} (wire/exchange port (wire/get-request "/" "Accept-Encoding: gzip"))]
        (is (= (when coded? "gzip") (get headers "content-encoding")) size)
        (is (= coded? (< (alength ^bytes bytes) (long size))))))))
