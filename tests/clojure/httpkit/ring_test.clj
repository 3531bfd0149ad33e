(ns httpkit.ring-test
  "Ring's own middleware, Compojure's routes and reloaded handlers over a real server."
  (:require [clojure.java.io    :as io]
            [clojure.string     :as str]
            [clojure.test       :refer [deftest is testing]]
            [compojure.core     :refer [ANY GET POST context routes]]
            [compojure.route    :as route]
            [httpkit.files      :as files]
            [httpkit.wire       :as wire]
            [ring.middleware.content-type      :refer [wrap-content-type]]
            [ring.middleware.cookies           :refer [wrap-cookies]]
            [ring.middleware.file              :refer [wrap-file]]
            [ring.middleware.flash             :refer [wrap-flash]]
            [ring.middleware.head              :refer [wrap-head]]
            [ring.middleware.keyword-params    :refer [wrap-keyword-params]]
            [ring.middleware.multipart-params  :refer [wrap-multipart-params]]
            [ring.middleware.nested-params     :refer [wrap-nested-params]]
            [ring.middleware.not-modified      :refer [wrap-not-modified]]
            [ring.middleware.params            :refer [wrap-params]]
            [ring.middleware.resource          :refer [wrap-resource]]
            [ring.middleware.session           :refer [wrap-session]]
            [ring.middleware.session.cookie    :refer [cookie-store]]
            [ring.util.response :as response])
  (:import (java.io File)
           (java.nio.file Files)
           (java.security MessageDigest)))

(set! *warn-on-reflection* true)

(defn- post [path content-type ^String body]
  (str "POST " path " HTTP/1.1\r\nHost: localhost\r\nContent-Type: " content-type
       "\r\nContent-Length: " (count body) "\r\n\r\n" body))

(defn- hex [^bytes bytes]
  (apply str (map #(format "%02x" %) (.digest (MessageDigest/getInstance "SHA-256") bytes))))

(defn- utf8 [^String latin1] (String. (wire/latin1 latin1) "UTF-8"))

(defn- noise
  "`n` bytes as an ISO-8859-1 string, all values among them."
  [n]
  (let [bytes (byte-array n)]
    (.nextBytes (java.util.Random. 7) bytes)
    (String. bytes "ISO-8859-1")))

(deftest form-and-query-parameters
  (let [handler (-> (fn [{:keys [params]}] (response/response (pr-str params)))
                    wrap-keyword-params wrap-nested-params wrap-params)]
    (wire/with-server [{:keys [port]} handler {}]
      (let [params #(read-string (utf8 (:body (wire/fetch port %))))]
        (is (= {:a "1" :b "x y" :c "\u00e9"} (params "/?a=1&b=x+y&c=%C3%A9")))
        (is (= {:q "1" :user {:name "n" :tags ["s" "t"]}}
               (params (post "/?q=1" "application/x-www-form-urlencoded"
                             "user[name]=n&user[tags][]=s&user[tags][]=t"))))
        (is (= {} (params "/")))
        (is (= {:a ["1" "2"]} (params "/?a=1&a=2")))))))

(deftest form-parameters-in-a-charset-of-their-own
  (let [handler (wrap-params (fn [{:keys [params]}] (response/response (params "x"))))]
    (wire/with-server [{:keys [port]} handler {}]
      (is (= "\u00e9" (utf8 (:body (wire/fetch port (post "/" "application/x-www-form-urlencoded; charset=ISO-8859-1"
                                                      "x=%E9")))))))))

(deftest a-big-file-is-uploaded
  (let [content  (noise 6000000)
        boundary "----boundary"
        body     (str "--" boundary "\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\nholiday\r\n"
                      "--" boundary "\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a b.bin\"\r\n"
                      "Content-Type: application/octet-stream\r\n\r\n" content "\r\n--" boundary "--\r\n")
        handler  (wrap-multipart-params
                   (fn [{{:strs [title file]} :multipart-params}]
                     (response/response
                       (pr-str [title (:filename file) (:content-type file) (:size file)
                                (hex (Files/readAllBytes (.toPath ^File (:tempfile file))))]))))]
    (wire/with-server [{:keys [port]} handler {}]
      (is (= ["holiday" "a b.bin" "application/octet-stream" (count content) (hex (wire/latin1 content))]
             (read-string (:body (wire/fetch port (post "/" (str "multipart/form-data; boundary=" boundary) body)))))))))

(deftest cookies-come-and-go
  (let [handler (wrap-cookies (fn [{:keys [cookies]}]
                                {:status 200
                                 :body (pr-str (into {} (map (fn [[k v]] [k (:value v)])) cookies))
                                 :cookies {"a" {:value "1" :path "/" :http-only true}
                                           "b" {:value "x y"}}}))]
    (wire/with-server [{:keys [port]} handler {}]
      (with-open [conn (wire/connect port)]
        (wire/send! conn "GET / HTTP/1.1\r\nHost: h\r\nCookie: one=1; two=2\r\nCookie: three=3\r\n"
                    "Connection: close\r\n\r\n")
        (let [lines (doall (take-while #(not= "" %) (repeatedly #(wire/read-line! conn))))]
          (is (= #{"a=1;Path=/;HttpOnly" "b=x+y"}
                 (set (keep #(second (re-matches #"(?i)set-cookie: (.*)" %)) lines)))
              "one line per cookie"))
        (is (= {"one" "1" "two" "2" "three" "3"} (read-string (wire/read-rest conn))))))))

(defn- cookie-of [response]
  (some-> (get-in response [:headers "set-cookie"]) (str/split #";") first))

(deftest sessions-are-kept-in-memory-and-in-cookies
  (doseq [[store options] {"memory" {}, "cookie" {:store (cookie-store {:key (.getBytes "0123456789abcdef")})}}
          :let [handler (wrap-session
                          (fn [{:keys [session]}]
                            (let [n (inc (:n session 0))]
                              (assoc (response/response (str n)) :session (assoc session :n n))))
                          options)]]
    (wire/with-server [{:keys [port]} handler {}]
      (let [visit  (fn [[cookie _]]
                     (let [response (wire/fetch port (wire/get-request "/" ["Cookie" (or cookie "none=0")]))]
                       [(or (cookie-of response) cookie) (:body response)]))
            visits (rest (iterate visit nil))]
        (is (= ["1" "2" "3"] (map second (take 3 visits))) store)
        (is (= "1" (:body (wire/fetch port "/"))) "another client")))))

(deftest flash-messages-last-for-one-request
  (let [handler (wrap-session
                  (wrap-flash
                    (fn [{:keys [flash uri]}]
                      (cond-> (response/response (str flash))
                        (= "/set" uri) (assoc :flash "saved")))))]
    (wire/with-server [{:keys [port]} handler {}]
      (let [cookie (cookie-of (wire/fetch port "/set"))
            again  #(:body (wire/fetch port (wire/get-request "/" ["Cookie" cookie])))]
        (is (= ["saved" ""] [(again) (again)]))))))

(deftest files-are-served
  (let [dir     (files/temporary-directory)
        content (noise 3000000)
        handler (-> (constantly nil) (wrap-file dir) wrap-content-type wrap-not-modified wrap-head)]
    (spit (io/file dir "a.txt") "hello")
    (spit (io/file dir "empty.txt") "")
    (io/copy (wire/latin1 content) (io/file dir "big.bin"))
    (wire/with-server [{:keys [port]} handler {}]
      (let [{:keys [status headers body]} (wire/fetch port "/a.txt")]
        (is (= [200 "hello" "5" "text/plain"]
               [status body (headers "content-length") (headers "content-type")]))
        (is (= 304 (:status (wire/fetch port (wire/get-request "/a.txt" ["If-Modified-Since" (headers "last-modified")])))))
        (is (= "" (:body (wire/fetch port "/empty.txt"))))
        (is (= (hex (wire/latin1 content)) (hex (wire/latin1 (:body (wire/fetch port "/big.bin"))))))
        (is (= 404 (:status (wire/fetch port "/none.txt"))))
        (is (= 404 (:status (wire/fetch port "/../etc/passwd"))))
        (testing "HEAD has the length and no content"
          (with-open [conn (wire/connect port)]
            (wire/send! conn "HEAD /a.txt HTTP/1.1\r\nHost: h\r\n\r\n")
            (is (= [200 "text/plain"]
                   ((juxt :status (comp #(% "content-type") :headers)) (wire/answer conn :head? true))))
            (wire/send! conn (wire/get-request "/a.txt"))
            (is (= "hello" (:body (wire/answer conn))))))))))

(deftest resources-are-served
  (let [handler (wrap-content-type (wrap-resource (constantly nil) "org/httpkit"))]
    (wire/with-server [{:keys [port]} handler {}]
      (is (str/starts-with? (:body (wire/fetch port "/server.clj")) "(ns org.httpkit.server")))))

(deftest compojure-routes
  (let [handler (routes
                  (GET "/" [] "root")
                  (GET "/users/:id" [id] (str "user " id))
                  (context "/api" []
                    (POST "/echo" {body :body} (response/response (slurp body)))
                    (ANY "/method" {method :request-method} (name method)))
                  (GET "/redirect" [] (response/redirect "/"))
                  (route/not-found "nothing here"))]
    (wire/with-server [{:keys [port]} handler {}]
      (let [fetch (juxt :status :body)]
        (is (= [200 "root"] (fetch (wire/fetch port "/"))))
        (is (= [200 "user 42"] (fetch (wire/fetch port "/users/42"))))
        (is (= [200 "text"] (fetch (wire/fetch port (post "/api/echo" "text/plain" "text")))))
        (is (= [200 "patch"] (fetch (wire/fetch port "PATCH /api/method HTTP/1.1\r\nHost: h\r\n\r\n"))))
        (is (= [404 "nothing here"] (fetch (wire/fetch port "/none"))))
        (let [{:keys [status headers]} (wire/fetch port "/redirect")]
          (is (= [302 "/"] [status (headers "location")])))))))

(def ^:private revision 1)
(defn- reloaded [_] {:status 200 :body (str "revision " revision)})

(deftest a-var-is-looked-up-for-each-request
  (wire/with-server [{:keys [port]} #'reloaded {}]
    (with-open [conn (wire/connect port)]
      (let [ask #(do (wire/send! conn (wire/get-request "/")) (:body (wire/answer conn)))]
        (is (= "revision 1" (ask)))
        (with-redefs [reloaded (fn [_] {:status 200 :body "redefined"})]
          (is (= "redefined" (ask))))
        (is (= "revision 1" (ask)))))))

(def ^:private app-source
  "(ns httpkit.reloaded-app) (defn app [_] {:status 200 :body \"%s\"})")

(deftest code-that-is-loaded-again-serves-the-next-request
  (load-string (format app-source "first"))
  (let [app    (resolve 'httpkit.reloaded-app/app)
        reload (fn [handler]
                 (fn [{:keys [uri] :as request}]
                   (when (= "/reload" uri) (load-string (format app-source "second")))
                   (handler request)))]
    (wire/with-server [{:keys [port]} (reload app) {}]
      (is (= ["first" "second" "second"] (map #(:body (wire/fetch port %)) ["/" "/reload" "/"]))))))

(deftest asynchronous-handlers-take-rings-middleware
  (let [handler (-> (fn
                      ([_] {:status 500 :body "synchronous"})
                      ([{:keys [params]} respond raise]
                       (future (if (:fail params)
                                 (raise (ex-info "as asked" {}))
                                 (respond (response/response (pr-str params)))))))
                    wrap-keyword-params wrap-params wrap-cookies)]
    (wire/with-server [{:keys [port]} handler {:ring-async? true :error-logger (fn [_ _])}]
      (is (= {:a "1"} (read-string (:body (wire/fetch port "/?a=1")))))
      (is (= 500 (:status (wire/fetch port "/?fail=1")))))))
